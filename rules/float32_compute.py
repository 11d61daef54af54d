"""QLoRA that computes in float32."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._memory import option_place

CODE = "KT506"
NAME = "float32-compute"
SEVERITY = Severity.WARNING
FIX = Applicability.UNSAFE
SINCE = "0.1.0"

NAME_OF_KEY = "bnb_4bit_compute_dtype"


def check(job: Job) -> Iterator[Fault]:
    if not job.flag("QuantizationConfig", "load_in_4bit"):
        return
    setting = job.setting("QuantizationConfig", NAME_OF_KEY)
    if setting.value not in (None, "float32", "float"):
        return
    how = "is float32" if setting.is_stated else "is not set, which means float32"
    yield Fault(
        option_place(job, "QuantizationConfig", NAME_OF_KEY),
        f"`{NAME_OF_KEY}` {how}: 4-bit weights are unpacked to float32 and multiplied without tensor cores",
        help='write `bnb_4bit_compute_dtype: "bfloat16"`',
        fix=setting_fix(
            job, "QuantizationConfig", NAME_OF_KEY, "bfloat16", "Compute in bfloat16", Applicability.UNSAFE
        ),
    )
