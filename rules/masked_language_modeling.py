"""`mlm: true` for a causal language model."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import flag_option, is_on_kaito

CODE = "KT407"
NAME = "masked-language-modeling"
SEVERITY = Severity.INFO
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when `mlm: true` is written: it works by a rescue, and means false."""
    option = flag_option(job, "DataCollator", "mlm")
    if option is None or job.uses_template or not is_on_kaito(job):
        return
    yield Fault(
        option.value,
        "`mlm: true` asks for masked language modelling, which causal models cannot do; Kaito turns it off",
        help="write `mlm: false`",
        fix=setting_fix(job, "DataCollator", "mlm", False, "Write `mlm: false`", Applicability.SAFE),
    )
