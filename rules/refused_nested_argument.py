"""A key inside a nested argument that the library behind it does not have."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._conditions import ARGUMENTS, stage_effect
from kaitoc.rules._hazards import is_on_kaito, uses_sft_config
from kaitoc.rules._libraries import libraries_of

CODE = "KT465"
NAME = "refused-nested-argument"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_STAGES = {"accelerator_config": "parse", "gradient_checkpointing_kwargs": "step"}


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for a nested argument with a key that is refused."""
    if not is_on_kaito(job):
        return
    for name, stage in _STAGES.items():
        option, value = job.option(ARGUMENTS, name), job.value(ARGUMENTS, name)
        if option is not None and isinstance(value, dict):
            problem = _problem(job, name, value)
            if problem:
                yield _fault(job, option, name, problem, stage)


def _problem(job: Job, name: str, value: dict[str, object]) -> str:
    if name == "gradient_checkpointing_kwargs" and not job.flag(ARGUMENTS, "gradient_checkpointing"):
        return ""
    unknown = _unknown(job, name, value)
    if unknown:
        return f"there is no `{unknown}` in `{name}`"
    if name == "gradient_checkpointing_kwargs":
        return _checkpoint_problem(value)
    if value.get("use_configured_state"):
        return "`use_configured_state` needs a state that Kaito does not set up"
    inner = value.get("gradient_accumulation_kwargs")
    if inner is None:
        return ""
    if not isinstance(inner, dict):
        return "`gradient_accumulation_kwargs` is not a mapping"
    unknown = _unknown(job, f"{name}.gradient_accumulation_kwargs", inner)
    if unknown and uses_sft_config(job):
        return f"there is no `{unknown}` in `gradient_accumulation_kwargs`"
    steps = job.integer(ARGUMENTS, "gradient_accumulation_steps", 1)
    if inner.get("num_steps") is not None and steps > 1:
        return f"`num_steps` and `gradient_accumulation_steps: {steps}` are mutually exclusive"
    return ""


def _checkpoint_problem(value: dict[str, object]) -> str:
    """Return why PyTorch's checkpoint refuses its arguments: some are for the non-reentrant kind alone."""
    is_reentrant = value.get("use_reentrant") is None or bool(value["use_reentrant"])
    if "context_fn" in value:
        return "`context_fn` is a function, which cannot be written here"
    if is_reentrant and value.get("debug"):
        return "`debug` needs `use_reentrant: false`"
    if not is_reentrant and value.get("determinism_check", "default") not in ("default", "none"):
        return "`determinism_check` must be `default` or `none`"
    return ""


def _unknown(job: Job, name: str, value: dict[str, object]) -> str:
    known = libraries_of(job).nested.get(name, ())
    return next((key for key in value if key not in known), "")


def _fault(job: Job, option: Option, name: str, problem: str, stage: str) -> Fault:
    known = libraries_of(job).nested.get(name, ())
    return Fault(
        job.place_of(option),
        f"{problem}; {stage_effect(stage)}",
        help=f"the keys are {join_names(known)}",
    )
