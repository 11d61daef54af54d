"""A mapping where Kaito flattens keys to command-line options."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._hazards import is_on_kaito
from kaitoc.rules._problems import as_json, nested_effect, nested_help, problems_of

CODE = "KT207"
NAME = "nested-mapping"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    for option, problem in problems_of(job, ArgProblemKind.NESTED_MAPPING):
        if option.section == "DataCollator" and option.name == "mlm" and is_on_kaito(job):
            yield _rescued(job, option)
            continue
        yield Fault(
            option.key if not job.uses_template else job.config_place,
            f"the mapping under `{option.name}` is flattened to `{problem.written}`, {nested_effect(problem)}",
            help=nested_help(option, problem),
            fix=as_json(job, option, problem),
            severity=None if problem.is_fatal else Severity.WARNING,
        )


def _rescued(job: Job, option: Option) -> Fault:
    """Return the fault of a mapping under `mlm`: Kaito's second parse writes false over it, and trains."""
    return Fault(
        option.key if not job.uses_template else job.config_place,
        "the mapping under `mlm` is dropped: causal models have no mask token, so Kaito parses the section again with "
        "`mlm: false`",
        help="write `mlm: false`",
        severity=Severity.WARNING,
    )
