"""A key that a section does not have."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.wording import join_first
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblem, ArgProblemKind
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._fixes import renaming
from kaitoc.rules._problems import STOPS, problems_of

CODE = "KT202"
NAME = "unknown-key"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"

_KINDS = (ArgProblemKind.UNKNOWN_KEY, ArgProblemKind.AMBIGUOUS_KEY, ArgProblemKind.HELP_KEY)


def check(job: Job) -> Iterator[Fault]:
    """Yield every key on which the runtime's parser stops because no argument has that name."""
    for option, problem in problems_of(job, *_KINDS):
        yield _fault(job, option, problem)


def _fault(job: Job, option: Option, problem: ArgProblem) -> Fault:
    if problem.kind is ArgProblemKind.AMBIGUOUS_KEY:
        names = join_first(problem.suggestion.split(", "))
        message = f"`{option.name}` could be short for several keys of {option.section}: {names}"
        return Fault(option.key, f"{message}; {STOPS}")
    return Fault(
        option.key,
        f"{option.section} has no key `{option.name}` in {job.args_release}; {STOPS}",
        help=_help(problem),
        fix=renaming(job, option, problem.suggestion, Applicability.UNSAFE),
    )


def _help(problem: ArgProblem) -> str:
    if problem.home_section:
        return f"`{problem.written}` is a key of {problem.home_section}: move it there"
    return f"did you mean `{problem.suggestion}`?" if problem.suggestion else ""
