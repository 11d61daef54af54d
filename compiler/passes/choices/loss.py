"""How the loss is computed: over the logits of the whole batch, or in chunks of tokens; the result is the same."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.argument_table import release_arguments
from kaitoc.compiler.memory.workload import Loss, Workload
from kaitoc.compiler.passes.choices.choice import Choice, Question
from kaitoc.compiler.passes.model import Change
from kaitoc.compiler.passes.options import set_to
from kaitoc.compiler.passes.situation import Situation
from kaitoc.compiler.passes.space import Alternative

_NAMES = {Loss.FULL: "nll", Loss.CHUNKED: "chunked_nll"}


def _present(workload: Workload) -> Loss:
    return workload.loss


def _alternatives(question: Question) -> Iterator[Alternative[Loss]]:
    """Kaito's image computes full logits unless told otherwise; ours never does."""
    if question.run.workload.loss is Loss.FULL and _has_chunked_loss(question.job):
        yield Alternative(Loss.CHUNKED)


def _has_chunked_loss(job: Job) -> bool:
    arguments = release_arguments(job.args_release).sections["TrainingArguments"].arguments
    if "loss_type" not in arguments or not job.release.has(LibraryChange.CHUNKED_LOSS):
        return False
    if job.value("TrainingArguments", "loss_type") not in (None, "nll"):
        return False
    return not job.flag("TrainingArguments", "use_liger_kernel")


def _apply(_: Situation, workload: Workload, value: Loss) -> Workload:
    return replace(workload, loss=value)


def _change(question: Question, chosen: Alternative[Loss], reason: str) -> Change:
    section, name = "TrainingArguments", "loss_type"
    return set_to(question.job, section, name, _NAMES[chosen.value], reason, chosen.preserves)


CHOICE = Choice(
    name="loss",
    fit_reason="the loss is computed in chunks of tokens, so the logits of the whole batch never exist at once",
    speed_reason="this way to compute the same loss is predicted to be faster here",
    present=_present,
    alternatives=_alternatives,
    apply=_apply,
    change=_change,
)
