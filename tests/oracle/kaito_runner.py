"""Run Kaito's own tuning files over many configurations, each in a forked child, and record what happened.

It runs inside a release's throwaway environment and imports nothing of kaitoc:

    python kaito_runner.py KAITO_FOLDER VARIANTS.jsonl RECORDING.jsonl

`KAITO_FOLDER` holds Kaito's cli.py, parser.py, dataset.py and fine_tuning.py of that release. Each line of VARIANTS
is `{"id", "config", "data"}`: the value of `training_config` and the name of a data set. Variants that RECORDING
already has are skipped. The libraries are imported once; a forked child then takes about a second.

What differs from a GPU node: `torch.cuda.set_device` is stubbed, `use_cpu: true` is added where the variant does not
set it, the model at `/workspace/tfs/weights` is a random Phi-3 of two layers, and the network is off.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Dict  # noqa: UP035  run by the Python of each release

from recorded_phi3 import make_data, make_model

_Json = Dict[str, Any]  # noqa: UP006  run by the Python of each release
TIMEOUT_SECONDS = 60
WEIGHTS = "/workspace/tfs/weights"
DEFAULT_TARGET_MODULES = "k_proj,q_proj,v_proj,o_proj,gate_proj,down_proj,up_proj"
"""What Kaito sets for presets whose name begins with phi-3 (pkg/workspace/tuning/preset_tuning.go)."""
_STAGES = (
    ("parse_configs", "parse"),
    ("BitsAndBytesConfig(", "quantization"),
    ("load_chat_template", "template"),
    ("AutoTokenizer", "tokenizer"),
    ("AutoModelForCausalLM", "model"),
    ("**model_args", "model"),
    ("use_cache", "adapter"),
    ("prepare_model_for_kbit_training", "model"),
    ("LoraConfig(", "adapter"),
    ("get_peft_model", "adapter"),
    ("dm.", "data"),
    ("SFTTrainer(", "trainer"),
    ("trainer.train()", "train"),
    ("save_pretrained", "save"),
    ("os.makedirs", "save"),
)
_TRAIN_STAGES = (
    ("_save_checkpoint", "checkpoint"),
    ("_determine_best_metric", "checkpoint"),
    ("evaluate", "evaluation"),
    ("training_step", "step"),
    ("get_batch_samples", "batch"),
    ("create_optimizer_and_scheduler", "optimizer"),
    ("create_scheduler", "optimizer"),
    ("create_optimizer", "optimizer"),
    ("on_train_begin", "reporter"),
)


def main() -> None:
    """Record every variant that has no record yet."""
    kaito, variants, recording = (Path(name).resolve() for name in sys.argv[1:4])
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[name] = "1"
    os.environ.update(TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1", TQDM_DISABLE="1")
    os.environ["DEFAULT_TARGET_MODULES"] = DEFAULT_TARGET_MODULES
    known = set()
    if recording.exists():
        known = {json.loads(line)["id"] for line in recording.read_text().splitlines()}
    waiting = [json.loads(line) for line in variants.read_text().splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        _private_mnt(Path(folder))
        os.environ["HF_HOME"] = str(Path(folder) / "hf")
        _import_libraries(kaito)
        make_model(Path(folder) / "weights")
        make_data(Path(folder) / "data")
        _replace_weights(str(Path(folder) / "weights"))
        _import_what_children_do(kaito, waiting, Path(folder))
        started = time.monotonic()
        for number, variant in enumerate(waiting):
            if variant["id"] in known:
                continue
            known.add(variant["id"])
            record = {"id": variant["id"], **_run(kaito, variant, Path(folder))}
            with recording.open("a") as file:
                file.write(json.dumps(record) + "\n")
            if number % 50 == 0:
                print(f"{number}/{len(waiting)} {time.monotonic() - started:.0f} s", flush=True)


def _private_mnt(folder: Path) -> None:
    """Put a folder of our own on /mnt, in a mount namespace that ends with this process."""
    (folder / "mnt").mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000):
        raise OSError(ctypes.get_errno(), "cannot make a mount namespace: run under `unshare -rm`")
    libc.mount(b"none", b"/", None, 1 << 18 | 1 << 14, None)
    if libc.mount(str(folder / "mnt").encode(), b"/mnt", None, 1 << 12, None):
        raise OSError(ctypes.get_errno(), "cannot mount over /mnt")


def _import_libraries(kaito: Path) -> None:
    sys.path.insert(0, str(kaito))
    import bitsandbytes  # noqa: F401
    import datasets
    import torch
    import transformers
    import trl

    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    torch.cuda.set_device = lambda device: None
    _ = (trl.SFTTrainer, transformers.Trainer, transformers.AutoModelForCausalLM, transformers.AutoTokenizer)
    from transformers.models.phi3 import modeling_phi3  # noqa: F401

    with contextlib.suppress(Exception):
        from trl.trainer import sft_trainer  # noqa: F401


def _import_what_children_do(kaito: Path, waiting: list[_Json], folder: Path) -> None:
    """Import in the parent what a child imported on the way, so that no other child has to."""
    for marked in ('"base":"lora","set":{}', '"base":"qlora","set":{}'):
        for variant in waiting:
            if marked in variant["id"]:
                _run(kaito, variant, folder)
                for name in (folder / "modules.txt").read_text().split():
                    with contextlib.suppress(BaseException):
                        __import__(name)
    gc.collect()
    gc.freeze()


def _replace_weights(weights: str) -> None:
    """Load the tiny model where Kaito's image has the preset's."""
    import transformers

    def is_weights(name: Any) -> bool:
        return isinstance(name, str) and os.path.normpath(name) == WEIGHTS

    for owner in (transformers.AutoModelForCausalLM, transformers.AutoTokenizer):
        real = owner.from_pretrained

        def load(*args: Any, _real: Any = real, **options: Any) -> Any:
            if is_weights(options.get("pretrained_model_name_or_path")):
                options["pretrained_model_name_or_path"] = weights
            return _real(*(weights if is_weights(one) else one for one in args), **options)

        owner.from_pretrained = load


def _run(kaito: Path, variant: _Json, folder: Path) -> _Json:
    mnt = Path("/mnt")
    for child in mnt.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()
    (mnt / "config").mkdir()
    (mnt / "data").mkdir()
    for source in (folder / "data" / variant.get("data", "messages")).iterdir():
        shutil.copy(source, mnt / "data" / source.name)
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    spent = os.times()
    result, log = folder / "result.json", folder / "log.txt"
    result.unlink(missing_ok=True)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            _child(kaito, variant, work, result, log)
        finally:
            os._exit(1)  # whatever happened, a child must not clean up after its parent
    ended = _wait(child, began)
    record: _Json = json.loads(result.read_text()) if result.exists() else {"verdict": "stopped", "stage": "process"}
    if ended:
        record = {"verdict": "stopped", "stage": "process", "exception": ended, "message": ""}
    if record.get("exception") == "SystemExit":
        record["message"] = _last_line(log.read_text(errors="replace"))
    now = os.times()
    cpu = now.children_user + now.children_system - spent.children_user - spent.children_system
    return {**record, "seconds": round(time.monotonic() - began, 1), "cpu_seconds": round(cpu, 2)}


def _wait(child: int, began: float) -> str:
    """Return how a child ended badly: the empty string when it ended well."""
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return "" if os.WIFEXITED(status) else f"signal {os.WTERMSIG(status)}"
        if time.monotonic() - began > TIMEOUT_SECONDS:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "timeout"
        time.sleep(0.01)


def _child(kaito: Path, variant: _Json, work: Path, result: Path, log: Path) -> None:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(work)
    config = json.loads(json.dumps(variant["config"]))
    arguments = config.get("TrainingArguments")
    if isinstance(arguments, dict) and not any(key.startswith(("use_cpu", "no_cuda")) for key in arguments):
        arguments["use_cpu"] = True
    _write_yaml(Path("/mnt/config/training_config.yaml"), {"training_config": config})
    record: _Json = {"verdict": "trained"}
    watched = _watch()
    try:
        import runpy

        runpy.run_path(str(kaito / "fine_tuning.py"), run_name="__main__")
    except BaseException as error:  # every way in which a job ends is a result
        record = {"verdict": "stopped", **_described(error, watched)}
    record.update(_outcome(watched))
    result.write_text(json.dumps(record))
    own = ("cli", "parser", "dataset", "__main__", "fine_tuning")
    result.with_name("modules.txt").write_text("\n".join(name for name in sys.modules if name not in own))
    os._exit(0)


def _write_yaml(path: Path, value: _Json) -> None:
    import yaml

    path.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def _watch() -> _Json:
    """Keep hold of the trainer, and of the weights it was given."""
    import transformers

    watched: _Json = {}
    real = transformers.Trainer.train

    def train(self: Any, *args: Any, **options: Any) -> Any:
        watched["trainer"] = self
        watched["before"] = {
            name: weight.detach().clone() for name, weight in self.model.named_parameters() if weight.requires_grad
        }
        return real(self, *args, **options)

    transformers.Trainer.train = train
    return watched


def _outcome(watched: _Json) -> _Json:
    trainer, before = watched.get("trainer"), watched.get("before", {})
    if trainer is None:
        return {}
    changed, is_finite = 0, True
    for name, weight in trainer.model.named_parameters():
        if name in before:
            is_finite = is_finite and bool(weight.isfinite().all())
            changed += not bool((weight.detach() == before[name]).all())
    return {
        "steps": trainer.state.global_step,
        "changed": changed,
        "trainable": len(before),
        "finite": is_finite,
        "mixed_precision": str(getattr(trainer.accelerator, "mixed_precision", "")),
        "saved": any(Path("/mnt").rglob("adapter_model.safetensors")) or any(Path().rglob("adapter_model.safetensors")),
    }


def _described(error: BaseException, watched: _Json) -> _Json:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.line or "" for frame in frames if frame.filename.endswith("fine_tuning.py")]
    stage = next((name for mark, name in _STAGES for line in lines[:1] if mark in line), lines[0] if lines else "start")
    if stage == "train":
        names = [frame.name for frame in frames]
        stage = next((name for mark, name in _TRAIN_STAGES if any(mark in found for found in names)), "train")
    last = frames[-1] if frames else None
    where = f"{re.sub('.*site-packages/', '', last.filename)}:{last.name}" if last else ""
    message = str(error).strip()
    return {
        "stage": stage,
        "exception": type(error).__name__,
        "message": message[:300],
        "where": where.replace(str(Path(__file__).parent), ""),
    }


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if "error:" in line]
    return lines[-1].rpartition("error:")[2].strip()[:300] if lines else ""


if __name__ == "__main__":
    main()
