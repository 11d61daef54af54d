"""A column key that Kaito's runtime never reads."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import removal
from kaitoc.rules._hazards import uses_sft_config

CODE = "KT410"
NAME = "ignored-column-key"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"

_NAMES = ("context_column", "response_column", "messages_column")


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for each key that names a column of the data."""
    if not uses_sft_config(job):
        return
    for name in _NAMES:
        option = job.option("DatasetConfig", name)
        if option is not None:
            yield Fault(
                job.place_of(option),
                f"`{name}` is accepted and never read: only the columns `messages`, `conversations`, or `prompt` with "
                "`completion` work, by these names",
                help="rename the column in the data",
                fix=removal(job, option, Applicability.SAFE),
            )
