"""From the search's best candidate to the changes of a manifest, one per dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.workload import Attention, Loss, Optimizer
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_batch, set_several, set_to
from kaitoc.compiler.passes.search import Candidate, Dimension, Judge, Space, search
from kaitoc.compiler.passes.search_space import (
    Situation,
    judge_for,
    situations,
    space_of,
)

_OPTIM_NAMES = {Optimizer.ADAMW_FUSED: "adamw_torch_fused", Optimizer.PAGED_ADAMW_8BIT: "paged_adamw_8bit"}
_LOSS_NAMES = {Loss.FULL: "nll", Loss.CHUNKED: "chunked_nll"}


@dataclass(frozen=True, slots=True)
class Search:
    """A job's search, ready to be asked."""

    job: Job
    runs: tuple[Situation, ...]
    space: Space
    judge: Judge
    context: PassContext

    @property
    def present(self) -> Candidate:
        """Return the configuration as it is."""
        places = (0,) * len(self.space.choices)
        return Candidate({dimension: found[0].value for dimension, found in self.space.choices.items()}, places, (), 0)

    @property
    def fits(self) -> bool:
        """Return whether the configuration fits as it is."""
        return self.judge.fits(self.present)

    def fitting(self) -> Candidate | None:
        """Return the best candidate for the context's goal that fits with its margin, None when none does."""
        return search(self.space, self.judge, self.context.goal, self.context.preserve)

    def best(self) -> Candidate | None:
        """Return the best candidate that fits, or tightly fits where the present does not at all; else None."""
        found = self.fitting()
        if found is not None or self.judge.hint(self.present).fits_tightly:
            return found
        tight = self.judge.accepting(Verdict.TIGHT)
        return search(self.space, tight, self.context.goal, self.context.preserve)

    def smallest(self) -> Candidate:
        """Return the candidate of the lowest floor, fit or not."""
        candidates = self.space.candidates(self.context.preserve)
        return min(candidates, key=lambda one: (self.judge.hint(one).least_bytes, one.change_key))


def search_for(job: Job, context: PassContext) -> Search | None:
    """Return the search for a job, None when its model, its GPU or a sibling's is unknown."""
    runs = situations(job, context)
    return search_for_runs(job, context, runs) if runs else None


def search_for_runs(job: Job, context: PassContext, runs: tuple[Situation, ...]) -> Search:
    """Return the search for a job on given GPUs."""
    return Search(job, runs, space_of(job, runs[0], context), judge_for(runs), context)


def changes_of(found: Search, candidate: Candidate, reasons: dict[Dimension, str]) -> Iterator[Change]:
    """Yield the changes that make a candidate of the job, the mildest first; only dimensions with a reason."""
    for dimension in Dimension:
        if dimension in candidate.changed and dimension in reasons:
            value = candidate.values[dimension]
            preserves = next(one.preserves for one in found.space.choices[dimension] if one.value == value)
            yield _CHANGE[dimension](found, value, reasons[dimension], preserves)


def _set_checkpointing(found: Search, value: object, reason: str, preserves: Preserves) -> Change:
    return set_to(found.job, "TrainingArguments", "gradient_checkpointing", bool(value), reason, preserves)


def _set_attention(found: Search, value: object, reason: str, preserves: Preserves) -> Change:
    return set_to(found.job, "ModelConfig", "attn_implementation", Attention(value).value, reason, preserves)


def _set_loss(found: Search, value: object, reason: str, preserves: Preserves) -> Change:
    return set_to(found.job, "TrainingArguments", "loss_type", _LOSS_NAMES[Loss(value)], reason, preserves)


def _set_batch(found: Search, value: object, reason: str, preserves: Preserves) -> Change:
    return set_batch(found.job, int(str(value)), found.runs[0].effective_batch, reason, preserves)


def _set_optimizer(found: Search, value: object, reason: str, preserves: Preserves) -> Change:
    return set_to(found.job, "TrainingArguments", "optim", _OPTIM_NAMES[Optimizer(value)], reason, preserves)


def _set_double_quant(found: Search, value: object, reason: str, preserves: Preserves) -> Change:
    section, name = "QuantizationConfig", "bnb_4bit_use_double_quant"
    return set_to(found.job, section, name, bool(value), reason, preserves)


def _set_quantization(found: Search, _: object, reason: str, preserves: Preserves) -> Change:
    values: dict[str, object] = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_compute_dtype": "bfloat16" if found.runs[0].gpu.has_bf16 else "float16",
        "bnb_4bit_use_double_quant": True,
    }
    return set_several(found.job, "QuantizationConfig", values, reason, preserves, _method_edits(found.job))


def _method_edits(job: Job) -> tuple[Edit, ...]:
    """Return the edit that gives a Workspace the method `qlora`, which Kaito's webhook wants beside 4-bit weights."""
    if job.method is None or job.method.place is None or job.method.value.lower() == "qlora":
        return ()
    place = job.method.place
    written = place.source.slice(place.span)
    quote = written[:1] if written[:1] in ("'", '"') else ""
    return (Edit(place.source, place.span, f"{quote}qlora{quote}"),)


def _set_length(found: Search, value: object, reason: str, preserves: Preserves) -> Change:
    return set_to(found.job, "TrainingArguments", "max_length", int(str(value)), reason, preserves)


_CHANGE: dict[Dimension, Callable[[Search, object, str, Preserves], Change]] = {
    Dimension.CHECKPOINTING: _set_checkpointing,
    Dimension.ATTENTION: _set_attention,
    Dimension.LOSS: _set_loss,
    Dimension.BATCH: _set_batch,
    Dimension.OPTIMIZER: _set_optimizer,
    Dimension.DOUBLE_QUANT: _set_double_quant,
    Dimension.QUANTIZATION: _set_quantization,
    Dimension.LENGTH: _set_length,
}
