"""4-bit weights in the fp4 format because none is set."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._memory import option_place

CODE = "KT507"
NAME = "implicit-fp4"
SEVERITY = Severity.WARNING
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    if not job.flag("QuantizationConfig", "load_in_4bit"):
        return
    setting = job.setting("QuantizationConfig", "bnb_4bit_quant_type")
    if setting.is_stated or setting.value == "nf4":
        return
    yield Fault(
        option_place(job, "QuantizationConfig", "bnb_4bit_quant_type"),
        "`bnb_4bit_quant_type` is not set, which means fp4; nf4 has the same size and a smaller error",
        help="write `bnb_4bit_quant_type: nf4`",
        fix=setting_fix(job, "QuantizationConfig", "bnb_4bit_quant_type", "nf4", "Use nf4", Applicability.UNSAFE),
    )
