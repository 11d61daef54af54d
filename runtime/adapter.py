"""The result of a run: written in one step, and read back before it is called complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict

from kaitoc.compiler.plan import Plan
from kaitoc.runtime.failures import OutputFailure
from kaitoc.runtime.oci import ADAPTER_FILES
from kaitoc.runtime.redact import redacted

ADAPTER = "adapter"
MODEL = "model"
PLAN = "kaitoc-plan.json"
_RELOADED = "reloaded"


def result_folder(plan: Plan) -> Path:
    """Return where the adapter goes, or the model when every weight is trained."""
    return Path(plan.output.path) / (MODEL if plan.lora is None else ADAPTER)


def save(model: Any, tokenizer: Any, plan: Plan) -> Path:
    """Write the adapter as PEFT saves it, or the model, with tokenizer and plan; the folder appears in one step.

    Raises `OutputFailure` when it cannot be written or does not read back as it was trained.
    """
    folder = result_folder(plan)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        (unfinished / PLAN).write_text(redacted(plan).to_json(), encoding="utf-8")
        _verify(model, unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    except OSError as error:
        raise OutputFailure(f"{folder}: the result cannot be written: {error.strerror or error}") from error
    return folder


def place_for_pusher(adapter: Path, output: Path) -> None:
    """Put an adapter's two files beside the completion marker, where Kaito's pusher takes them from.

    Source: kaito-project/kaito, pkg/workspace/image/pusher.sh, `mklayer`. Raises `OutputFailure`.
    """
    for name in ADAPTER_FILES:
        aside = output / f".{name}.unfinished"
        try:
            aside.unlink(missing_ok=True)
            try:
                os.link(adapter / name, aside)
            except OSError:
                shutil.copyfile(adapter / name, aside)
            os.replace(aside, output / name)
        except OSError as error:
            raise OutputFailure(f"{output / name}: cannot be written: {error.strerror or error}") from error


def _verify(model: Any, folder: Path) -> None:
    """Read back what was saved; raises `OutputFailure` unless it is what was trained."""
    if isinstance(model, PeftModel):
        _verify_adapter(model, folder)
    else:
        _verify_weights(model, folder)


def _verify_adapter(model: PeftModel, folder: Path) -> None:
    """Load a saved adapter beside the trained one, onto the same base model, and compare the two."""
    try:
        model.load_adapter(str(folder), adapter_name=_RELOADED, is_trainable=False)
    except Exception as error:
        raise OutputFailure(f"{folder}: the saved adapter does not load: {error}") from error
    try:
        trained = get_peft_model_state_dict(model)
        loaded = get_peft_model_state_dict(model, adapter_name=_RELOADED)
        different = [name for name, value in trained.items() if not _is_same(value, loaded.get(name))]
    finally:
        model.delete_adapter(_RELOADED)
    if different:
        raise OutputFailure(f"{folder}: the saved adapter is not what was trained: `{different[0]}` differs")


def _verify_weights(model: Any, folder: Path) -> None:
    from safetensors import safe_open

    trained = model.state_dict()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118  (not a mapping)
                if not _is_same(trained[name].cpu(), stored.get_tensor(name)):
                    raise OutputFailure(f"{folder}: the saved model is not what was trained: `{name}` differs")


def _is_same(one: torch.Tensor, other: torch.Tensor | None) -> bool:
    return other is not None and torch.equal(one.to(other.dtype).cpu(), other.cpu())
