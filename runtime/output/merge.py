"""Merges an adapter into its base model, for servers that load no adapters."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError

from kaitoc.compiler.plan.plan import Plan, QuantizationPlan
from kaitoc.runtime.failures import OutputFailure, in_words
from kaitoc.runtime.model.load import load_model
from kaitoc.runtime.output.earlier_run import replace_result


def merge(plan: Plan, adapter: Path, tokenizer: Any, folder: Path) -> Path:
    """Write the base model with an adapter merged into it as safetensors; the folder appears in one step.

    A quantized base is read anew without quantization, since merging into 4-bit weights would round the adapter away.
    It is merged on the CPU, where there is room beside what was trained. Raises `OutputFailure` when weights would not
    be numbers or the folder cannot be written.
    """
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    model = plan.model.model_copy(update={"attention": "auto"})
    whole = plan.model_copy(update={"model": model, "quantization": QuantizationPlan(kbit_prep=False)})
    try:
        merged: Any = PeftModel.from_pretrained(load_model(whole, "cpu"), adapter).merge_and_unload(safe_merge=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        merged.save_pretrained(unfinished, safe_serialization=True)
        tokenizer.save_pretrained(unfinished)
        replace_result(unfinished, folder)
    except (OSError, ValueError, SafetensorError) as error:
        raise OutputFailure(f"{folder}: the merged model cannot be written: {in_words(error)}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder
