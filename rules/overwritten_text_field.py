"""A `dataset_text_field`, which Kaito's runtime overwrites."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._sft import useless_option

CODE = "KT451"
NAME = "overwritten-text-field"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when a column of plain text is named."""
    yield from useless_option(
        job,
        "dataset_text_field",
        "`dataset_text_field` is overwritten with null, so plain-text data stops the run with `KeyError: None`",
        help="convert the data to `messages`, or to `prompt` and `completion`",
    )
