"""A value that an option cannot read."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_parser import ServingProblem, ServingProblemKind
from kaitoc.compiler.manifest.serving_config import Option
from kaitoc.compiler.yaml.tree import Scalar
from kaitoc.rules._fixes import removal
from kaitoc.rules._serving import STOPS, replacement, serving_problems

CODE = "KT703"
NAME = "invalid-serving-value"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_KINDS = (ServingProblemKind.VALUE, ServingProblemKind.NO_VALUE, ServingProblemKind.UNFINISHED)


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield values of a wrong type, outside an option's choices, or that look like an option themselves."""
    for option, problem in serving_problems(job, *_KINDS):
        if isinstance(option.node, Scalar):
            yield _fault(job, option, problem)


def _fault(job: ServingJob, option: Option, problem: ServingProblem) -> Fault:
    name = problem.option or option.name
    written = str(option.plain)
    if problem.kind is ServingProblemKind.UNFINISHED:
        message = f"vLLM reads `{written}` as an option because it starts with a dash and has a dot, and finds no value"
        return Fault(option.value, f"{message}; {STOPS}", help="write a number that is not negative")
    if option.plain is None:
        message = f"`{name}` is null, which Kaito hands to vLLM as the text `None`; it takes {problem.expected}"
        return Fault(option.value, f"{message}; {STOPS}", fix=removal(job, option, Applicability.UNSAFE))
    message = f"`{name}` takes {problem.expected}, not `{written}`; {STOPS}"
    close = _closest(problem.expected, written)
    fix = replacement(job, option, close, Applicability.UNSAFE) if close else _whole(job, option, problem.expected)
    return Fault(option.value, message, help=f"did you mean `{close}`?" if close else "", fix=fix)


def _closest(expected: str, written: str) -> str:
    if not expected.startswith("one of "):
        return ""
    from difflib import get_close_matches  # 5 ms, for a file with a wrong choice

    choices = expected.removeprefix("one of ").split(", ")
    known = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
    close = [known[written]] if known.get(written) in choices else get_close_matches(written.lower(), choices, n=1)
    return close[0] if close else ""


def _whole(job: ServingJob, option: Option, expected: str) -> Fix | None:
    """Offer `4096` for `4096.0`, which means the same."""
    plain = option.plain
    if isinstance(plain, float) and plain.is_integer() and expected.startswith("a whole number"):
        return replacement(job, option, int(plain), Applicability.SAFE)
    return None
