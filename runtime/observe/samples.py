"""Answers that a model gives after training, with the adapter and without it, to prompts of the data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from peft import PeftModel
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

from kaitoc.runtime.data.encode import IGNORED
from kaitoc.runtime.observe.report import Sample

MAX_NEW_TOKENS = 64
MAX_PROMPT_TOKENS = 512
_TEXT_PROMPT_TOKENS = 16


def answer_samples(model: Any, tokenizer: Any, rows: Sequence[Any], num_samples: int) -> tuple[Sample, ...]:
    """Return greedy answers to the first prompts of rows of tokens and labels; the model is left as it was.

    All processes that share a model have to call it, with the same rows.
    """
    was_training = model.training
    model.eval()
    if isinstance(model, PeftModel):
        # It generates by the model inside it, past the call in which its share of the embeddings is gathered.
        register_fsdp_forward_method(model, "generate")
    try:
        return tuple(_sample(model, tokenizer, rows[index]) for index in range(min(num_samples, len(rows))))
    finally:
        model.train(was_training)


def _sample(model: Any, tokenizer: Any, row: Any) -> Sample:
    prompt, expected = _split(row["input_ids"], row["labels"])
    with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
        without = _answer(model, tokenizer, prompt) if isinstance(model, PeftModel) else None
    return Sample(_text(tokenizer, prompt), _text(tokenizer, expected), _answer(model, tokenizer, prompt), without)


def _split(ids: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
    """Return the tokens before the first answer, and that answer; of a text without prompt its first tokens."""
    start = next((place for place, label in enumerate(labels) if label != IGNORED), 0)
    start = start or min(_TEXT_PROMPT_TOKENS, max(1, len(ids) // 2))
    end = next((place for place in range(start, len(ids)) if labels[place] == IGNORED), len(ids))
    return ids[max(0, start - MAX_PROMPT_TOKENS) : start], ids[start : min(end, start + MAX_NEW_TOKENS)]


@torch.no_grad()
def _answer(model: Any, tokenizer: Any, prompt: list[int]) -> str:
    ids = torch.tensor([prompt], device=model.device)
    made = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        use_cache=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        # As many steps in each process, should one find another token than the others and end elsewhere.
        synced_gpus=isinstance(model, FSDPModule),
    )
    return _text(tokenizer, made[0, len(prompt) :].tolist())


def _text(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    return text.strip()
