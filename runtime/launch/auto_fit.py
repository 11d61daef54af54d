"""What to try next when a run does not fit: the changes that keep the training result, the cheapest first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.plan.memory import architecture_of, with_prediction
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import PlanFailure
from kaitoc.runtime.output.checkpoints import is_same_plan

_STATEFUL_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused")
_SMALL_OPTIMIZER = "paged_adamw_8bit"


def next_candidate(plan: Plan) -> tuple[Plan, str] | None:
    """Return a plan that needs less memory and the change in words, None when nothing is left to try.

    Checkpointing computes the same gradients again; a smaller batch with more accumulation keeps the effective batch;
    an 8-bit optimizer comes last because it rounds.
    """
    training = plan.training
    if not training.gradient_checkpointing:
        return _with(plan, gradient_checkpointing=True), "gradient checkpointing"
    if training.per_device_train_batch_size > 1:
        effective = training.per_device_train_batch_size * training.gradient_accumulation_steps
        size = _largest_divisor(effective, training.per_device_train_batch_size // 2)
        smaller = _with(plan, per_device_train_batch_size=size, gradient_accumulation_steps=effective // size)
        return smaller, f"batches of {size}, accumulated {effective // size} times"
    if training.optim in _STATEFUL_OPTIMIZERS:
        return _with(plan, optim=_SMALL_OPTIMIZER), f"the optimizer {_SMALL_OPTIMIZER}"
    return None


def as_left_off(plan: Plan, device: str) -> Plan:
    """Return the candidate that a run that is resumed had come to, the plan itself when it is none of them."""
    from kaitoc.runtime.model.sharding import with_sharding  # with it come the libraries, which take many seconds

    output = Path(plan.output.path)
    try:
        return next(
            (candidate for candidate in _candidates(plan) if is_same_plan(with_sharding(candidate, device), output)),
            plan,
        )
    except PlanFailure:
        return plan


def _candidates(plan: Plan) -> Iterator[Plan]:
    yield plan
    while (candidate := next_candidate(plan)) is not None:
        plan = candidate[0]
        yield plan


def _with(plan: Plan, **changes: Any) -> Plan:
    """Return a plan with other training options and, where it has a prediction, with that of the two."""
    training = plan.training.model_copy(update=changes)
    changed = plan.model_copy(update={"training": training, "predicted": None})
    if plan.predicted is None:
        return changed
    return with_prediction(changed, architecture_of(changed), find_gpu(plan.provenance.gpu))


def _largest_divisor(number: int, bound: int) -> int:
    return next(divisor for divisor in range(bound, 0, -1) if number % divisor == 0)
