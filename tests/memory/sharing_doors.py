"""Random manifests of several GPUs, and what the commands say of them: no two may differ.

Texts go through the command line: check and estimate in JSON, compile, and a dry run of as many processes.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from wrong_usage import answer

from kaitoc.compiler.catalog.gpus import all_gpus, all_instance_types, find_instance_type
from kaitoc.compiler.catalog.linear_modules import all_linear_targets
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.catalog.releases import all_releases, newest_release
from kaitoc.compiler.kaito.argument_table import release_arguments

WORKSPACE = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: tune}}
resource: {{instanceType: {instance}, labelSelector: {{matchLabels: {{a: b}}}}}}
tuning:
  preset: {{name: {preset}}}
  method: {method}
  config: params
  input: {{urls: ["https://example.com/rows.jsonl"]}}
  output: {{image: example.com/tuned:1, imagePushSecret: secret}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: params}}
data:
  training_config.yaml: |
    training_config:
"""
DATASET = {"DatasetConfig": {"train_test_split": "1"}, "DataCollator": {"mlm": "false"}}
QUANTIZED = (
    {"load_in_4bit": "true", "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"},
    {"load_in_4bit": "true", "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": "true"},
    {"load_in_4bit": "true"},
    {"load_in_8bit": "true"},
)
SAME = ("model", "gpu", "seq_len", "batch", "footprint", "peak_bytes", "phase_bytes", "sharding", "host_bytes",
        "interval_bytes", "lengths", "capacity_bytes", "margin", "verdict", "fits")  # fmt: skip
OUTGROWN, NARROW, IMPOSSIBLE = {"KT501", "KT509", "KT515"}, {"KT502", "KT515"}, {"KT516"}


@dataclass(frozen=True)
class Asked:
    """A manifest, for whom it is meant, and what the command line says of its GPUs."""

    text: str
    meant_for: tuple[str, ...]
    gpus: tuple[str, ...]
    shared: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        return (*self.meant_for, *self.gpus, *self.shared)


def drawn(seed: int) -> Asked:
    """Draw a manifest of any options that decide memory, and a command line that may be wrong for it."""
    draw = random.Random(f"shared-{seed}")
    release = draw.choice([newest_release(), newest_release(), *all_releases()])
    target = draw.choice(("bundled", "bundled", "kaito"))
    preset = draw.choice(release.tunable_presets)
    instance = draw.choice([one for one in all_instance_types() if one.gpu is not None and one.last_release is None])
    is_quantized = draw.random() < 0.4
    known = release_arguments("bundled" if target == "bundled" else release.name).sections
    lines = [
        line
        for section, options in _sections(draw, preset, is_quantized=is_quantized).items()
        if (written := {name: value for name, value in options.items() if name in known[section].arguments})
        for line in (f"      {section}:", *(f"        {name}: {value}" for name, value in written.items()))
    ]
    method = "qlora" if is_quantized else "lora"
    text = WORKSPACE.format(instance=instance.name, preset=preset, method=method) + "\n".join((*lines, ""))
    meant_for = ("--target", target, "--kaito-version", release.name, "--isolated")
    gpu = _gpu(draw)
    assumed = instance if "--gpu" not in gpu else find_instance_type(gpu[gpu.index("--gpu") + 1])
    return Asked(text, meant_for, gpu, _shared(draw, assumed.num_gpus if assumed is not None else 16))


def _sections(draw: random.Random, preset: str, *, is_quantized: bool) -> dict[str, dict[str, str]]:
    def some(**options: tuple[str, ...]) -> dict[str, str]:
        return {name: draw.choice(values) for name, values in options.items() if draw.random() < 0.5}

    model = find_model(preset)
    assert model is not None
    found = sorted(all_linear_targets(model))
    targets = f"[{', '.join(draw.sample(found, min(len(found), draw.choice((2, 4)))))}]"
    lora = {"r": draw.choice(("8", "16", "64")), "target_modules": targets}
    lora |= some(
        use_dora=("true", "false"), lora_dropout=("0.0", "0.1"), modules_to_save=("[lm_head]", "[embed_tokens]")
    )
    training = {"output_dir": "/mnt/results", "per_device_train_batch_size": draw.choice(("1", "2", "8"))}
    training |= some(
        gradient_accumulation_steps=("1", "4"), gradient_checkpointing=("true", "false"), bf16=("true", "false"),
        max_length=("512", "2048", "4096"), packing=("true", "false"), optim=("adamw_torch", "adamw_torch_fused",
        "paged_adamw_8bit", "adafactor", "sgd"), fsdp=('""', "full_shard auto_wrap", "full_shard"),
        activation_offloading=("true", "false"), group_by_length=("true", "false"),
    )  # fmt: skip
    dtype = some(torch_dtype=("bfloat16", "bfloat16", "float32", "float16"))
    quantized = dict(draw.choice(QUANTIZED)) if is_quantized else {}
    return {
        "ModelConfig": dtype,
        "QuantizationConfig": quantized,
        "LoraConfig": lora,
        "TrainingArguments": training,
    } | DATASET


def _gpu(draw: random.Random) -> tuple[str, ...]:
    """Draw which GPU is assumed instead of the manifest's, if any."""
    kind = draw.choice(("", "name", "name", "memory", "instance"))
    gpu = {
        "": (),
        "name": ("--gpu", draw.choice(all_gpus()).name),
        "memory": ("--gpu-memory", draw.choice(("16", "24", "80", "141"))),
        "instance": ("--gpu", draw.choice([one.name for one in all_instance_types() if one.gpu is not None])),
    }[kind]
    return (*gpu, *(("--margin", draw.choice(("0", "10"))) if draw.random() < 0.3 else ()))


def _shared(draw: random.Random, per_node: int) -> tuple[str, ...]:
    """Draw how many GPUs of how many nodes share the model, and how; some of it cannot be."""
    if draw.random() < 0.15:
        return ()
    nodes = draw.choice((1, 1, 1, 2, 2, 4, 3))
    num_gpus = draw.choice([number for number in (1, 2, 4, 6, 8, 16) if number <= per_node * nodes] + [8])
    nodes = nodes if num_gpus % nodes == 0 or draw.random() < 0.1 else 1
    word = draw.choice(("auto", "auto", "auto", "ddp", "fsdp2", "fsdp", "fsdp1", "zero3"))
    stated = {
        "--gpus": draw.choice((str(num_gpus), str(num_gpus), "")),
        "--nodes": str(nodes) if nodes > 1 else "",
        "--sharding": word if word != "auto" else "",
        "--shard-group": draw.choice(("",) * 5 + ("2", "4", "3")),
        "--offload": draw.choice(("",) * 7 + ("parameters",)),
        "--lengths": draw.choice(("",) * 7 + ("100,300,500", "cap")),
    }
    return tuple(word for option, value in stated.items() if value for word in (option, value))


def disagreements(asked: Asked, path: Path, *, compiles: bool = True) -> Iterator[str]:
    """Yield what two commands say differently of a manifest, or say in more than one line."""
    path.write_text(asked.text, encoding="utf-8")
    checked, estimated = _json("check", path, *asked.words), _json("estimate", path, *asked.words)
    yield from checked.faults("check")
    yield from estimated.faults("estimate")
    if checked.job is not None and estimated.code != 2:
        yield from _differences(checked, estimated)
    elif checked.job is not None and checked.job["verdict"] is not None:
        yield f"check says {checked.job['verdict']}, estimate: {estimated.errors}"
    yield from _of_notes(checked, estimated)
    yield from _of_impossible(checked, estimated)
    yield from _of_dry_run(asked, path, estimated)
    if compiles:
        yield from _of_compile(asked, path)


@dataclass(frozen=True)
class Told:
    """An exit code, the only job and the codes found of a JSON report, and what standard error says."""

    code: int
    job: dict[str, Any] | None
    codes: frozenset[str]
    failures: frozenset[str]
    messages: tuple[str, ...]
    stderr: str

    @property
    def notes(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("kaitoc: note: ")]

    @property
    def errors(self) -> str:
        return "\n".join(line for line in self.stderr.splitlines() if not line.startswith("kaitoc: note: "))

    def faults(self, command: str) -> Iterator[str]:
        if "internal error" in self.stderr or len(self.errors.splitlines()) > 1 or (self.code == 2 and not self.errors):
            yield f"{command} ends with {self.code}: {self.errors}"
        if self.code not in (0, 1, 2):
            yield f"{command} ends with {self.code}"


def _json(command: str, path: Path, *words: str) -> Told:
    code, output, errors = answer([command, str(path), "-f", "json", *words])
    report = json.loads(output) if output else {"jobs": [], "findings": []}
    findings = report["findings"]
    return Told(
        code,
        report["jobs"][0] if report["jobs"] else None,
        frozenset(one["code"] for one in findings),
        frozenset(one["code"] for one in findings if one["severity"] == "error"),
        tuple(one["message"] for one in findings if one["code"] in IMPOSSIBLE),
        errors,
    )


def _differences(checked: Told, estimated: Told) -> Iterator[str]:
    one, other = checked.job, estimated.job
    assert one is not None
    assert other is not None
    for name in SAME:
        if one[name] != other[name]:
            yield f"{name}: check {one[name]}, estimate {other[name]}"
    verdict = other["verdict"]
    if estimated.code != (verdict == "does-not-fit") or other["fits"] != (
        None if verdict is None else verdict != "does-not-fit"
    ):
        yield f"estimate ends with {estimated.code} for {verdict}"
    if (verdict == "does-not-fit") != bool(checked.failures & OUTGROWN):
        yield f"estimate {verdict}, check {sorted(checked.codes)}"
    if verdict == "tight" and not checked.codes & NARROW:
        yield f"estimate tight, check {sorted(checked.codes)}"
    if verdict == "fits" and checked.codes & (OUTGROWN | NARROW):
        yield f"estimate fits, check {sorted(checked.codes)}"


def _of_notes(checked: Told, estimated: Told) -> Iterator[str]:
    if estimated.code != 2 and checked.notes != estimated.notes:
        yield f"notes: check {checked.notes}, estimate {estimated.notes}"


def _of_impossible(checked: Told, estimated: Told) -> Iterator[str]:
    """A refusal of the estimate is a finding of the check, in the same words."""
    if checked.codes & IMPOSSIBLE and estimated.code != 2:
        yield f"check: {checked.messages}, and estimate ends with {estimated.code}"
    if checked.messages and estimated.code == 2 and checked.messages[0] not in estimated.errors:
        yield f"check: {checked.messages}, estimate: {estimated.errors}"
    if estimated.code == 2 and not checked.failures:
        yield f"estimate: {estimated.errors}, check finds no error"


def _of_dry_run(asked: Asked, path: Path, estimated: Told) -> Iterator[str]:
    """Compare the prediction in a plan of as many processes, on one node, with the estimate."""
    stated = dict(zip(asked.shared[::2], asked.shared[1::2], strict=True))
    if (
        asked.meant_for[1] != "bundled"
        or {"--nodes", "--offload", "--lengths"} & stated.keys()
        or "--gpus" not in stated
    ):
        return
    words = ["--num-processes", stated.pop("--gpus"), *(word for pair in stated.items() for word in pair)]
    code, output, errors = answer(["run", str(path), "--dry-run", *asked.meant_for, *asked.gpus, *words])
    lines = [
        line
        for line in errors.splitlines()
        if line.startswith("kaitoc: ") and ": note: " not in line and not re.search(r" KT\d{3} warning: ", line)
    ]
    if "internal error" in errors or (code == 2) != bool(lines) or code not in (0, 2):
        yield f"run --dry-run ends with {code}: {errors}"
    if code == 2:
        is_alike = estimated.code == 2 or stated.get("--sharding") in ("fsdp1", "zero3") or " error" in errors
        if not is_alike and not re.search(r"KT\d{3}|kaitoc run|has \d+ GPU", errors):
            yield f"run refuses: {errors}, estimate ends with {estimated.code}"
        return
    predicted = json.loads(output)["predicted"]
    if estimated.job is None:
        if not _is_lacking(asked, path) and predicted is not None:
            yield f"run predicts, estimate: {estimated.errors}"
        return
    peak, parts = estimated.job["peak_bytes"], estimated.job["footprint"]
    if predicted is None:
        yield "estimate predicts, run does not"
        return
    told = {name: predicted[f"{name}_bytes"] for name in peak}
    if told != peak or any(predicted[name] != parts[name] for name in predicted.keys() & parts.keys()):
        yield f"run predicts {told}, estimate {peak}"


def _is_lacking(asked: Asked, path: Path) -> bool:
    """Whether the estimate asks for more GPUs than the manifest's node has, which no run on this machine needs."""
    found = re.search(r"instanceType: ([\w.-]+)", path.read_text(encoding="utf-8"))
    instance = find_instance_type(found[1]) if found is not None else None
    return instance is not None and "--gpus" in asked.shared


def _of_compile(asked: Asked, path: Path) -> Iterator[str]:
    """Hold a compilation to what estimate and check say of its texts before and after; no GPUs are stated of it."""
    report = path.with_name("report.json")
    report.unlink(missing_ok=True)
    words = (*asked.meant_for, *asked.gpus)
    code, output, errors = answer(["compile", str(path), "-o", "-", "--report", str(report), *words])
    if "internal error" in errors or code not in (0, 1, 2):
        yield f"compile ends with {code}: {errors}"
    if not report.exists():
        return
    before = _json("estimate", path, *words)
    told = json.loads(report.read_text(encoding="utf-8"))["jobs"][0]
    if before.job is not None:
        yield from (f"before compiling, {fault}" for fault in _changed(told["before"], before.job))
    if code or not output:
        return
    path.write_text(output, encoding="utf-8")
    after, checked = _json("estimate", path, *words), _json("check", path, *words)
    if checked.failures or after.code:
        yield f"compile ends with 0, then check {sorted(checked.failures)}, estimate {after.code} {after.errors}"
    if after.job is not None:
        yield from (f"after compiling, {fault}" for fault in _changed(told["after"], after.job))


def _changed(told: dict[str, Any], estimated: dict[str, Any]) -> Iterator[str]:
    for name in SAME:
        if told[name] != estimated[name]:
            yield f"{name}: compile {told[name]}, estimate {estimated[name]}"
