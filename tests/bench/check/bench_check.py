"""Times `kaitoc check` on one manifest and on many, beside yamllint and check-jsonschema, in one run.

kaitoc is built and installed as a wheel into a fresh environment, as users have it: an editable install may lack
compiled bytecode. Medians of interleaved runs are printed as a table with ratios; `--max-one` and `--max-many` make
the script fail when a ratio is exceeded. `--serving` takes manifests that serve in place of ones that tune, `--alone`
leaves the other tools out, and `--max-seconds` bounds kaitoc's time on many files: the bar for 10,000 that serve on two
cores is `--serving --alone --count 10000 --max-seconds 12`.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = """apiVersion: v1
kind: ConfigMap
metadata:
  name: tuning-{number}
data:
  training_config.yaml: |
    training_config:
      ModelConfig:
        torch_dtype: "bfloat16"
        local_files_only: true
        device_map: "auto"
      QuantizationConfig:
        load_in_4bit: true
        bnb_4bit_quant_type: "nf4"
        bnb_4bit_compute_dtype: "bfloat16"
        bnb_4bit_use_double_quant: true
      LoraConfig:
        r: 8
        lora_alpha: 8
        lora_dropout: 0.0
        target_modules: ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
      TrainingArguments:
        output_dir: "/mnt/results"
        ddp_find_unused_parameters: false
        save_strategy: "epoch"
        per_device_train_batch_size: 1
        max_length: 2048
      DataCollator:
        mlm: false
      DatasetConfig:
        shuffle_dataset: true
        train_test_split: 1
---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: tuning-{number}
resource:
  instanceType: "Standard_NC24ads_A100_v4"
  labelSelector:
    matchLabels:
      app: tuning
tuning:
  preset:
    name: phi-3-mini-128k-instruct
  method: qlora
  config: tuning-{number}
  input:
    urls:
      - "https://example.com/data.json"
  output:
    image: "registry.example.com/adapters/phi:0.0.1"
    imagePushSecret: push
"""
SERVING_MANIFEST = """apiVersion: v1
kind: ConfigMap
metadata:
  name: serving-{number}
data:
  inference_config.yaml: |
    vllm:
      max-model-len: 16384
      max-num-seqs: 64
      gpu-memory-utilization: 0.9
      enable-prefix-caching: ""
---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: serving-{number}
resource:
  instanceType: "Standard_NC24ads_A100_v4"
  labelSelector:
    matchLabels:
      app: serving
inference:
  preset:
    name: phi-4-mini-instruct
  config: serving-{number}
"""
SCHEMA = '{"type": "object", "properties": {"kind": {"type": "string"}}}'


def install_wheel(folder: Path) -> Path:
    """Build a wheel, install it with yamllint and check-jsonschema into a fresh environment; return its bin."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist"), str(ROOT)],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / "bin"
    (wheel,) = (folder / "dist").glob("*.whl")
    subprocess.run(
        [str(scripts / "python"), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(wheel),
         "yamllint", "check-jsonschema"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    subprocess.run([str(scripts / "python"), "-m", "compileall", "-q", str(folder / "venv" / "lib")], check=False)
    return scripts


def measure(commands: dict[str, list[str]], repeats: int, cwd: Path) -> dict[str, float]:
    """Return the median wall time of each command in milliseconds, the commands interleaved."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=False)
            times[name].append((time.perf_counter() - start) * 1e3)
            if result.returncode not in (0, 1):
                raise SystemExit(f"{name} exited {result.returncode}: {result.stderr.decode()[:400]}")
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def write_manifests(folder: Path, count: int, manifest: str) -> None:
    """Write clean manifests, and the same split into one document per file for check-jsonschema."""
    for name in ("whole", "split"):
        (folder / name).mkdir()
    for number in range(count):
        text = manifest.format(number=number)
        (folder / "whole" / f"m{number:05}.yaml").write_text(text)
        for part, document in enumerate(text.split("---\n")):
            (folder / "split" / f"m{number:05}-{part}.yaml").write_text(document)


def main() -> int:
    """Print the table; return 1 when a ratio is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--max-one", type=float, default=None, help="largest ratio to yamllint on one file")
    parser.add_argument("--max-many", type=float, default=None, help="largest ratio to yamllint on many files")
    parser.add_argument("--max-seconds", type=float, default=None, help="kaitoc's longest time on many files")
    parser.add_argument("--serving", action="store_true", help="manifests that serve a model")
    parser.add_argument("--alone", action="store_true", help="time kaitoc, and no other tool")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kaitoc-bench-"))
    try:
        scripts = install_wheel(folder)
        write_manifests(folder, arguments.count, SERVING_MANIFEST if arguments.serving else MANIFEST)
        (folder / "schema.json").write_text(SCHEMA)
        tools = {
            "kaitoc": [str(scripts / "kaitoc"), "check", "--isolated"],
            "yamllint": [str(scripts / "yamllint"), "-d", "relaxed"],
            "check-jsonschema": [str(scripts / "check-jsonschema"), "--schemafile", "schema.json"],
        }
        if arguments.alone:
            tools = {"kaitoc": tools["kaitoc"]}
        whole, split = ["whole/m00000.yaml"], ["split/m00000-0.yaml"]
        one = measure({n: c + (split if n == "check-jsonschema" else whole) for n, c in tools.items()},
                      arguments.repeats, folder)  # fmt: skip
        every = [f"split/{path.name}" for path in sorted((folder / "split").iterdir())]
        many = measure({n: c + (every if n == "check-jsonschema" else ["whole"]) for n, c in tools.items()},
                       max(3, arguments.repeats // 3), folder)  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"| tool | 1 file (ms) | / yamllint | {arguments.count} files (ms) | / yamllint |")
    print("|---|---|---|---|---|")
    for name in tools:
        print(f"| {name} | {one[name]:.0f} | {_ratio(one, name):.2f} | {many[name]:.0f} | {_ratio(many, name):.2f} |")
    failed = (
        (arguments.max_one is not None and _ratio(one, "kaitoc") > arguments.max_one)
        or (arguments.max_many is not None and _ratio(many, "kaitoc") > arguments.max_many)
        or (arguments.max_seconds is not None and many["kaitoc"] > arguments.max_seconds * 1e3)
    )
    return int(failed)


def _ratio(times: dict[str, float], name: str) -> float:
    """Return a tool's time by yamllint's, not a number where that was not run."""
    return times[name] / times.get("yamllint", math.nan)


if __name__ == "__main__":
    sys.exit(main())
