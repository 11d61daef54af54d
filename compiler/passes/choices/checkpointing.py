"""Gradient checkpointing: on or off, either way; it computes the same and trades memory for time."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.stacks import KAITO_PREFIX
from kaitoc.compiler.memory.workload import Workload
from kaitoc.compiler.passes.choices.choice import Choice, Question, writes
from kaitoc.compiler.passes.situation import Situation
from kaitoc.compiler.passes.space import Alternative


def runs_in_kaitos_image(workload: Workload) -> bool:
    """Return whether Kaito's image runs it: for quantized models that turns checkpointing on, whatever is written.

    It calls PEFT's `prepare_model_for_kbit_training` without saying otherwise; the bundled runtime hands on the choice.
    """
    return workload.stack.startswith(KAITO_PREFIX)


def _present(workload: Workload) -> bool:
    return workload.gradient_checkpointing


def _alternatives(question: Question) -> Iterator[Alternative[bool]]:
    workload = question.run.workload
    if not (workload.kbit_prep and runs_in_kaitos_image(workload)):
        yield Alternative(not workload.gradient_checkpointing)


def _apply(_: Situation, workload: Workload, value: bool) -> Workload:
    return replace(workload, gradient_checkpointing=value)


CHOICE = Choice(
    name="gradient checkpointing",
    fit_reason="activations are recomputed in the backward pass instead of stored",
    speed_reason="there is room to store the activations that checkpointing would recompute",
    present=_present,
    alternatives=_alternatives,
    apply=_apply,
    change=writes("TrainingArguments", "gradient_checkpointing"),
    costs_memory=True,
)
