"""A `bnb_4bit_quant_type` that bitsandbytes does not have."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix

CODE = "KT421"
NAME = "unknown-quant-type"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_TYPES = ("nf4", "fp4")


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when 4-bit weights are of a type that bitsandbytes refuses."""
    section, name = "QuantizationConfig", "bnb_4bit_quant_type"
    option, value = job.option(section, name), job.value(section, name)
    if option is None or not isinstance(value, str) or value in _TYPES or not job.flag(section, "load_in_4bit"):
        return
    meant = value.strip().lower()
    is_clear = meant in _TYPES
    yield Fault(
        job.place_of(option),
        f"bitsandbytes has no 4-bit type `{value}`, only nf4 and fp4 in lower case: loading the model stops",
        help=f"write `{meant if is_clear else 'nf4'}`",
        fix=setting_fix(job, section, name, meant, f"Write `{meant}`", Applicability.SAFE) if is_clear else None,
    )
