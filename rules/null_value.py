"""A key without a value, or with `null`."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblem, ArgProblemKind
from kaitoc.rules._conditions import null_stage
from kaitoc.rules._fixes import removal
from kaitoc.rules._hazards import is_on_kaito
from kaitoc.rules._problems import null_effect, problems_of

CODE = "KT205"
NAME = "null-value"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_TOLD_ELSEWHERE = ("output_dir", "dataset_path", "dataset_extension")
"""Keys of which KT326, KT444 and KT445 say what the word does."""


def check(job: Job) -> Iterator[Fault]:
    for option, problem in problems_of(job, ArgProblemKind.NULL_VALUE):
        if _is_told_elsewhere(job, option.section, problem):
            continue
        stage = "" if problem.is_fatal or not is_on_kaito(job) else null_stage(job, option.section, problem.key)
        yield Fault(
            option.key if job.config is not None and not job.uses_template else job.config_place,
            f"`{option.name}` is null, which Kaito passes on as the word `None`; {_effect(problem, stage)}",
            help="give it a value, or leave the key out for the default",
            fix=removal(job, option, Applicability.SAFE if problem.is_fatal else Applicability.UNSAFE),
            severity=None if problem.is_fatal or stage else Severity.WARNING,
        )


def _effect(problem: ArgProblem, stage: str) -> str:
    return f"no such `{problem.key}` exists, and {stage}" if stage else null_effect(problem)


def _is_told_elsewhere(job: Job, section: str, null: ArgProblem) -> bool:
    """Return whether another rule says what becomes of the word: of this key, or because the parser refuses it."""
    if is_on_kaito(job) and null.key in _TOLD_ELSEWHERE:
        return True
    problems = job.parsed[section].problems
    return any(
        problem.is_fatal and problem.entry_index == null.entry_index and problem is not null for problem in problems
    )
