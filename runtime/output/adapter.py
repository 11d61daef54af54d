"""The result of a run: written in one step, and read back before it is called complete."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import OutputFailure, in_words
from kaitoc.runtime.model.pissa import is_pissa, plain_state
from kaitoc.runtime.model.served_adapter import served_config
from kaitoc.runtime.output.earlier_run import replace_result
from kaitoc.runtime.output.names import ADAPTER, ADAPTER_FILES, MODEL
from kaitoc.runtime.output.saved_tensors import is_same, verify_tensors
from kaitoc.runtime.output.whole_model import verify_model
from kaitoc.runtime.redact import redacted

PLAN = "kaitoc-plan.json"
_RELOADED = "reloaded"


def result_folder(plan: Plan) -> Path:
    """Locate the folder for the adapter, or for the model when every weight is trained."""
    return Path(plan.output.path) / (MODEL if plan.lora is None else ADAPTER)


def gathered_state(model: Any) -> dict[str, torch.Tensor]:
    """Return the tensors to be saved of a model that is sharded, whole and on the CPU, in every process.

    All processes have to call it. Of a model with an adapter only what is trained is gathered.
    """
    only_trained = isinstance(model, PeftModel)
    return {
        name: (value.full_tensor() if isinstance(value, DTensor) else value).detach().cpu()
        for name, value in model.named_parameters()
        if value.requires_grad or not only_trained
    }


def save(model: Any, tokenizer: Any, plan: Plan, state: dict[str, torch.Tensor] | None = None) -> Path:
    """Write the adapter as PEFT saves it, or the model, with tokenizer and plan; the folder appears in one step.

    `state` is what `gathered_state` returned, None for a model that is whole.
    Raises `OutputFailure` when it cannot be written or does not read back as it was trained.
    """
    folder = result_folder(plan)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        model.save_pretrained(unfinished, **({} if state is None else {"state_dict": state}))
        if isinstance(model, PeftModel):
            _write_config(model, plan, unfinished)
        if is_pissa(plan.lora):
            save_file(_plain(model, state), unfinished / ADAPTER_FILES[1], metadata={"format": "pt"})
        tokenizer.save_pretrained(unfinished)
        (unfinished / PLAN).write_text(redacted(plan).to_json(), encoding="utf-8")
        _verify(model, plan, unfinished, state)
        replace_result(unfinished, folder)
    except (OSError, SafetensorError) as error:
        raise OutputFailure(f"{folder}: the result cannot be written: {in_words(error)}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _plain(model: PeftModel, state: dict[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
    return plain_state(model, get_peft_model_state_dict(model, state_dict=state))


def _write_config(model: PeftModel, plan: Plan, folder: Path) -> None:
    """Write the adapter's config by the keys that it is served by, in place of the installed PEFT's."""
    config = served_config(model, plan.provenance.kaito_release)
    (folder / ADAPTER_FILES[0]).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


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


def _verify(model: Any, plan: Plan, folder: Path, state: dict[str, torch.Tensor] | None) -> None:
    """Read back what was saved; raises `OutputFailure` unless it is what was trained.

    A model that is sharded cannot take a second adapter, nor can one whose adapter trains biases of the base or is a
    part of it (PiSSA), so there the files are compared.
    """
    if is_pissa(plan.lora):
        verify_tensors(_plain(model, state), folder)
    elif isinstance(model, PeftModel) and state is None and not _trains_biases(model):
        _verify_adapter(model, folder)
    elif isinstance(model, PeftModel):
        verify_tensors(get_peft_model_state_dict(model, state_dict=state), folder)
    else:
        verify_model(model, folder, state)


def _trains_biases(model: PeftModel) -> bool:
    return any(getattr(config, "bias", "none") != "none" for config in model.peft_config.values())


def _verify_adapter(model: PeftModel, folder: Path) -> None:
    """Load a saved adapter beside the trained one, onto the same base model, and compare the two.

    Embeddings that have an adapter are saved with it, but are the base model's own: they are left out.
    """
    try:
        model.load_adapter(str(folder), adapter_name=_RELOADED, is_trainable=False)
    except Exception as error:
        raise OutputFailure(f"{folder}: the saved adapter does not load: {error}") from error
    try:
        trained = get_peft_model_state_dict(model, save_embedding_layers=False)
        loaded = get_peft_model_state_dict(model, adapter_name=_RELOADED, save_embedding_layers=False)
        different = [name for name, value in trained.items() if not is_same(value, loaded.get(name))]
    finally:
        model.delete_adapter(_RELOADED)
    if different:
        raise OutputFailure(f"{folder}: the saved adapter is not what was trained: `{different[0]}` differs")
