"""Arguments of a learning-rate scheduler that it does not take, or that it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._conditions import ARGUMENTS, faults_under, stage_effect, written
from kaitoc.rules._hazards import is_on_kaito
from kaitoc.rules._libraries import Scheduler, libraries_of

CODE = "KT463"
NAME = "refused-scheduler-argument"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_PASSED = ("num_training_steps", "num_warmup_steps", "optimizer")
"""Arguments that the trainer passes itself; a second value for one is a TypeError too."""


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault where the scheduler cannot be made with the arguments it gets."""
    kind = job.option(ARGUMENTS, "lr_scheduler_type")
    kwargs = job.option(ARGUMENTS, "lr_scheduler_kwargs")
    name = job.value(ARGUMENTS, "lr_scheduler_type")
    if not is_on_kaito(job) or (kind is None and kwargs is None) or not isinstance(name, str):
        return
    scheduler = libraries_of(job).schedulers.get(name)
    value = _meant(kwargs) or job.value(ARGUMENTS, "lr_scheduler_kwargs")
    place = kwargs or kind
    if scheduler is None or scheduler.ignores_kwargs or place is None or _is_never_made(job, name):
        return
    if value is not None and not isinstance(value, dict):
        return
    problem = _problem(name, scheduler, value or {}) or _value_problem(job, name, value or {})
    if problem:
        yield _fault(job, place, problem, scheduler)
    else:
        yield from faults_under(job, CODE)


def _meant(kwargs: Option | None) -> object:
    """Return a mapping as it is meant: the parser takes it apart, which is another fault, and it becomes JSON text."""
    return kwargs.plain if kwargs is not None and isinstance(kwargs.plain, dict) else None


def _is_never_made(job: Job, name: str) -> bool:
    """Return whether the job stops before, for want of an evaluation."""
    return name in ("reduce_lr_on_plateau", "greedy") and job.value(ARGUMENTS, "eval_strategy") == "no"


def _fault(job: Job, option: Option, problem: str, scheduler: Scheduler) -> Fault:
    takes = [name for name in scheduler.takes if name != "last_epoch"]
    return Fault(
        job.place_of(option),
        f"{written(option)}: {problem}; {stage_effect('optimizer')}",
        help=f"it takes {join_names(takes)}" if takes else "leave `lr_scheduler_kwargs` out",
    )


def _problem(name: str, scheduler: Scheduler, given: Mapping[str, object]) -> str:
    unknown = [key for key in given if key not in scheduler.takes]
    if unknown:
        word = "sets" if unknown[0] in _PASSED else "takes"
        return (
            f"the trainer sets `{unknown[0]}` itself"
            if word == "sets"
            else f"the scheduler {name} takes no `{unknown[0]}`"
        )
    missing = [key for key in scheduler.requires if key not in given]
    if missing:
        return f"the scheduler {name} needs {join_names(missing)} in `lr_scheduler_kwargs`"
    if scheduler.needs_one_of and not any(given.get(key) is not None for key in scheduler.needs_one_of):
        options = " or ".join(f"`{key}`" for key in scheduler.needs_one_of)
        return f"the scheduler {name} needs {options} in `lr_scheduler_kwargs`"
    for pair in scheduler.excludes:
        if all(given.get(key) is not None for key in pair):
            return f"the scheduler {name} takes `{pair[0]}` or `{pair[1]}`, not both"
    nulls = [key for key in scheduler.refuses_null if given.get(key, "") is None]
    return f"the scheduler {name} computes with `{nulls[0]}`, which is null" if nulls else ""


_WORDS = {
    "decay_type": ("linear", "cosine", "1-sqrt"),
    "warmup_type": ("linear", "cosine", "1-sqrt"),
    "mode": ("min", "max"),
    "threshold_mode": ("rel", "abs"),
}


def _value_problem(job: Job, name: str, given: Mapping[str, object]) -> str:
    for key, value in given.items():
        words = _WORDS.get(key)
        if words and value not in words:
            return f"`{key}` must be one of {', '.join(words)}"
        if words is None and isinstance(value, (str, list, dict)):
            return f"`{key}` must be a number"
        if key == "last_epoch" and value != -1:
            return "`last_epoch` resumes a schedule, but training starts from the beginning"
    if name == "polynomial":
        return _polynomial_problem(job, given)
    factor = given.get("factor")
    if name in ("reduce_lr_on_plateau", "greedy") and isinstance(factor, (int, float)) and factor >= 1:
        return "`factor` must be below 1"
    return ""


def _polynomial_problem(job: Job, given: Mapping[str, object]) -> str:
    end, rate = given.get("lr_end", 1e-7), job.number(ARGUMENTS, "learning_rate", 0.0)
    if isinstance(end, (int, float)) and rate <= end:
        return f"the scheduler polynomial ends at `lr_end` {end:g}, and `learning_rate` {rate:g} is not above it"
    return ""
