"""An empty mapping, which is dropped."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.rules._fixes import removal
from kaitoc.rules._problems import problems_of

CODE = "KT216"
NAME = "ignored-empty-mapping"
SEVERITY = Severity.INFO
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    for option, _ in problems_of(job, ArgProblemKind.EMPTY_MAPPING):
        yield Fault(
            option.key if not job.uses_template else job.config_place,
            f"`{option.name}` is an empty mapping and is dropped, as if it were not set",
            fix=removal(job, option, Applicability.SAFE),
        )
