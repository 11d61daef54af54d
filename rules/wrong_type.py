"""A value that the runtime's parser cannot read as the key's type."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblem, ArgProblemKind
from kaitoc.compiler.manifest.config_edits import replace_value, yaml_text
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._problems import problems_of

CODE = "KT203"
NAME = "wrong-type"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield every value on which the runtime's parser stops because it is not of the key's type."""
    for option, problem in problems_of(job, ArgProblemKind.WRONG_TYPE):
        yield _fault(job, option, problem)


def _fault(job: Job, option: Option, problem: ArgProblem) -> Fault:
    value = option.plain
    shown = yaml_text(value) if isinstance(value, (str, int, float, bool, type(None))) else "this value"
    return Fault(
        job.place_of(option),
        f"`{problem.key}` takes {problem.expectation}, not {shown}; the job stops before the model loads",
        fix=_as_integer(job, option, value),
    )


def _as_integer(job: Job, option: Option, value: object) -> Fix | None:
    """Offer `8` for `8.0`: argparse reads an integer's text with `int`, which refuses a decimal point."""
    config = job.config
    if config is None or not config.is_editable or not isinstance(value, float) or not value.is_integer():
        return None
    edit = replace_value(config, option, int(value))
    return Fix(f"Write `{int(value)}`", Applicability.SAFE, (edit,))
