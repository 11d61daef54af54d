"""An option that the release's vLLM does not have."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.core.wording import join_first
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_option_history import first_release_without, is_gone_before, releases_with
from kaitoc.compiler.kaito.vllm_parser import ServingProblem, ServingProblemKind, parse_words
from kaitoc.compiler.kaito.vllm_words import words_of
from kaitoc.compiler.manifest.serving_config import Option
from kaitoc.rules._fixes import removal, renaming
from kaitoc.rules._serving import STOPS, plain_name, serving_problems

CODE = "KT701"
NAME = "unknown-serving-option"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_KINDS = (ServingProblemKind.UNKNOWN, ServingProblemKind.AMBIGUOUS, ServingProblemKind.HELP)


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield every key that names no option, several, or vLLM's help."""
    for option, problem in serving_problems(job, *_KINDS):
        yield _fault(job, option, problem)
    for option in job.options if job.uses_vllm and job.is_readable else ():
        if option.placeholder:  # its value is not known, its name is
            problems = parse_words([], words_of([(option.name, option.placeholder)]), job.table).problems
            yield from (_fault(job, option, problem) for problem in problems if problem.kind in _KINDS)


def _fault(job: ServingJob, option: Option, problem: ServingProblem) -> Fault:
    if problem.kind is ServingProblemKind.AMBIGUOUS:
        names = join_first([name.removeprefix("--") for name in problem.candidates])
        return Fault(option.key, f"`{option.name}` could be short for {names}; {STOPS}")
    if problem.kind is ServingProblemKind.HELP:
        message = f"`{option.name}` makes vLLM print its help and exit: the pod restarts forever"
        return Fault(option.key, message, fix=removal(job, option, Applicability.SAFE))
    name, release = plain_name(option), job.release
    gone = first_release_without(name, release)
    if gone:
        message = f"Kaito {gone} and later have no option `{name}` (vLLM {job.table.vllm}); {STOPS}"
        return Fault(option.key, message, help="remove it", fix=removal(job, option, Applicability.SAFE))
    if is_gone_before(name):
        message = f"no vLLM of Kaito v0.8 or later has `{name}`; {STOPS}"
        return Fault(option.key, message, help="remove it", fix=removal(job, option, Applicability.SAFE))
    message = f"vLLM {job.table.vllm} of Kaito {release} has no option `{name}`; {STOPS}"
    return Fault(option.key, message, help=_help(job, name), fix=_rename(job, option, name))


def _closest(job: ServingJob, name: str) -> str:
    from difflib import get_close_matches  # 5 ms, for a file with an unknown key

    close = get_close_matches(name.lower().lstrip("-"), job.table.names, n=1, cutoff=0.75)
    return close[0] if close else ""


def _help(job: ServingJob, name: str) -> str:
    later = releases_with(name)
    if later:
        return f"Kaito {', '.join(later)} has it"
    close = _closest(job, name)
    return f"did you mean `{close}`?" if close else "remove it"


def _rename(job: ServingJob, option: Option, name: str) -> Fix | None:
    close = "" if releases_with(name) else _closest(job, name)
    if close:
        return renaming(job, option, close, Applicability.UNSAFE)
    return removal(job, option, Applicability.UNSAFE)
