"""Proof that packed documents do not see each other, by the model that will be trained, where it will be trained.

Whether a document's tokens attend to the one packed before it depends on the architecture, on the attention kernel and
on what of a batch the model reads. Two short sequences show it, in four forward passes of a dozen tokens.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from kaitoc.compiler.catalog.packing import SHARED_STRATEGY, is_known_to_leak
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import PlanFailure, in_words
from kaitoc.runtime.model.shard_loading import is_sharded
from kaitoc.runtime.out_of_memory import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUM_FIRST, _NUM_SECOND = 7, 5
_TOLERANCE = 0.1
"""What is taken for rounding, as a share of what another document before it changes in one undivided sequence.

Kernels round by the shapes that they are given, and a mixture's experts are given other shapes by other tokens.
"""


@dataclass(frozen=True, slots=True)
class Isolation:
    """What the document before it changes in a document's logits: packed, and in one undivided sequence.

    `shift` is what packing itself changes; it is told from rounding where `resolution` is below what is undivided.
    """

    packed: float
    undivided: float
    shift: float
    resolution: float

    @property
    def is_proven(self) -> bool:
        """Whether a packed document reads as it does alone."""
        limit = _TOLERANCE * self.undivided
        return self.packed <= limit and self.shift <= max(limit, self.resolution)


def require_packable(plan: Plan, model_type: str) -> None:
    """Raise `PlanFailure` when a plan packs documents for a model that is known to let them see each other.

    What is not known is measured once the model is loaded.
    """
    attention = "sdpa" if plan.model.attention == "auto" else plan.model.attention
    if _packs_documents(plan) and is_known_to_leak(model_type, attention):
        raise _leak(plan, model_type)


def require_isolation(plan: Plan, model: Any, device: str) -> None:
    """Raise `PlanFailure` when a plan packs documents and the model lets one see another."""
    if not _packs_documents(plan):
        return
    if device == "cuda" and not is_sharded(plan):
        model.to(device)  # where the trainer moves it next
    kind = getattr(model.config, "model_type", type(model).__name__)
    try:
        isolation = measure_isolation(model, plan)
    except (TypeError, ValueError, IndexError, NotImplementedError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise PlanFailure(
            f"{_refused(plan)}: {kind} does not take packed documents ({in_words(error)}); {_instead(plan)}"
        ) from error
    if not isolation.is_proven:
        raise _leak(plan, kind)


def _leak(plan: Plan, kind: str) -> PlanFailure:
    return PlanFailure(f"{_refused(plan)}: on {kind} a packed document sees the one before it; {_instead(plan)}")


def _refused(plan: Plan) -> str:
    return "`packing` is refused" if plan.data.packing else "`padding_free` is refused"


def _instead(plan: Plan) -> str:
    shared = f"set `packing: false`, or `packing_strategy: {SHARED_STRATEGY}`, which does not keep documents separate"
    return shared if plan.data.packing else "set `padding_free: false`"


def _packs_documents(plan: Plan) -> bool:
    """Return whether sequences are laid behind each other that are meant to stay apart."""
    is_packed = plan.data.packing and plan.data.packing_strategy != SHARED_STRATEGY
    return is_packed or plan.training.extra_training_arguments.get("padding_free") is True


def measure_isolation(model: Any, plan: Plan) -> Isolation:
    """Measure how much two short documents attend to each other when packed as TRL packs them."""
    first, other, second = _documents(model)
    cast = _cast_dtype(plan, model.device.type)
    with _evaluating(model), torch.no_grad(), torch.autocast(model.device.type, cast, enabled=cast is not None):
        packed = _logits(model, plan, [first, second])
        changed = _logits(model, plan, [other, second])
        joined = _logits(model, plan, [first + second])
        joined_changed = _logits(model, plan, [other + second])
        alone = _logits(model, plan, [second])
    return Isolation(
        packed=_difference(packed, changed),
        undivided=_difference(joined, joined_changed),
        shift=_difference(packed, alone),
        resolution=16 * torch.finfo(cast or model.dtype).eps * float(alone.abs().max()),
    )


def _documents(model: Any) -> tuple[list[int], list[int], list[int]]:
    """Return two first documents that differ in every token, and a second one; always the same."""
    generator = torch.Generator().manual_seed(0)
    num_tokens = min(model.get_input_embeddings().weight.shape[0], model.config.get_text_config().vocab_size)
    first = torch.randint(num_tokens, (_NUM_FIRST,), generator=generator).tolist()
    second = torch.randint(num_tokens, (_NUM_SECOND,), generator=generator).tolist()
    return first, [(token + 1 + num_tokens // 2) % num_tokens for token in first], second


def _logits(model: Any, plan: Plan, documents: list[list[int]]) -> torch.Tensor:
    """Return the logits of the last document's tokens, computed as TRL's trainer does, from a batch as it makes it."""
    ids = [token for document in documents for token in document]
    row = {"input_ids": ids, "labels": ids, "seq_lengths": [len(document) for document in documents]}
    collate = DataCollatorForLanguageModeling(
        pad_token_id=0, padding_free=True, pad_to_multiple_of=plan.data.pad_to_multiple_of
    )
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    device = base.get_input_embeddings().weight.device
    batch = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in collate([row]).items()
    }
    del batch["labels"]
    hidden = base.base_model(**batch, use_cache=False).last_hidden_state[0, len(ids) - _NUM_SECOND : len(ids)]
    head = base.get_output_embeddings()
    logits: torch.Tensor = head(hidden.to(head.weight.device)).float()
    return logits


def _difference(left: torch.Tensor, right: torch.Tensor) -> float:
    return float((left - right).abs().max())


def _cast_dtype(plan: Plan, kind: str) -> torch.dtype | None:
    """Return the type that the trainer casts to; a CPU has no float16 that trains, so it is left as it is there."""
    if plan.training.bf16:
        return torch.bfloat16
    return torch.float16 if plan.training.fp16 and kind != "cpu" else None


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Keep a model from dropping anything out."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
