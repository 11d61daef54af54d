"""No `mlm` under DataCollator, whose default stops the run."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import is_on_kaito
from kaitoc.rules._problems import STOPS

CODE = "KT406"
NAME = "missing-mlm"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when `mlm` is left to its default, which no causal model can have."""
    if not is_on_kaito(job) or not job.flag("DataCollator", "mlm"):
        return
    option = job.option("DataCollator", "mlm")
    if option is not None and option.plain:
        return  # Kaito turns it off where a value stands that Python takes for true
    if option is not None:
        yield Fault(
            job.place_of(option),
            f"an empty `mlm` means true, which needs a mask token that causal models lack: {STOPS}",
            help="write `mlm: false`",
            fix=setting_fix(job, "DataCollator", "mlm", False, "Write `mlm: false`", Applicability.SAFE),
        )
        return
    section = job.config.section("DataCollator") if job.config is not None else None
    if section is not None and not section.is_mapping:
        return
    missing = "`DataCollator` has no `mlm`" if section is not None else "there is no section `DataCollator`"
    yield Fault(
        job.section_place("DataCollator"),
        f"{missing}, so `mlm` is true, which needs a mask token that causal models lack: {STOPS}",
        help="write `mlm: false`",
        fix=setting_fix(job, "DataCollator", "mlm", False, "Write `mlm: false`", Applicability.SAFE),
    )
