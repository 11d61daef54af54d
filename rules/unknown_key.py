"""A key that a section does not have."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.wording import join_first
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.argument_table import release_arguments
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


class _Fit(Enum):
    """Whether a key takes a value: among its words, nearly one of them, or neither."""

    TAKES = auto()
    NEARLY = auto()
    NONE = auto()


def check(job: Job) -> Iterator[Fault]:
    """Yield every key on which the runtime's parser stops because no argument has that name."""
    for option, problem in problems_of(job, *_KINDS):
        yield _fault(job, option, problem)


def _fault(job: Job, option: Option, problem: ArgProblem) -> Fault:
    if problem.kind is ArgProblemKind.AMBIGUOUS_KEY:
        names = join_first(problem.suggestion.split(", "))
        message = f"`{option.name}` could be short for several keys of {option.section}: {names}"
        return Fault(option.key, f"{message}; {STOPS}")
    fit = _fit(job, option, problem.suggestion)
    return Fault(
        option.key,
        f"{option.section} has no key `{option.name}` in {job.args_owner}; {STOPS}",
        help=_help(problem, is_likely=fit is not _Fit.NONE),
        fix=renaming(job, option, problem.suggestion, Applicability.UNSAFE) if fit is _Fit.TAKES else None,
    )


def _fit(job: Job, option: Option, suggestion: str) -> _Fit:
    """Compare a value with the words of the key that is proposed; a value that is not known yet passes."""
    words = _words_of(job, option, suggestion)
    if not words or option.placeholder or str(option.plain) in words:
        return _Fit.TAKES
    from difflib import get_close_matches  # 5 ms, for a file with an unknown key

    return _Fit.NEARLY if get_close_matches(str(option.plain), words, n=1) else _Fit.NONE


def _words_of(job: Job, option: Option, suggestion: str) -> tuple[str, ...]:
    """Return the words that a suggested key takes, empty for one that takes any value."""
    section = release_arguments(job.args_release).sections.get(option.section)
    argument = section.arguments.get(suggestion) if section is not None else None
    return argument.choices if argument is not None else ()


def _help(problem: ArgProblem, is_likely: bool) -> str:
    if problem.home_section:
        return f"`{problem.written}` is a key of {problem.home_section}: move it there"
    return f"did you mean `{problem.suggestion}`?" if problem.suggestion and is_likely else ""
