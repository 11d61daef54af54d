"""A `bnb_4bit_compute_dtype` that is no name of a torch type."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import (
    compute_dtype_name,
)
from kaitoc.rules._fixes import setting_fix

CODE = "KT422"
NAME = "unknown-compute-dtype"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_NAMES = ("float32", "float", "float16", "half", "bfloat16", "float64", "double")


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the type of the computation cannot be one."""
    section, name = "QuantizationConfig", "bnb_4bit_compute_dtype"
    option, value = job.option(section, name), job.value(section, name)
    if option is None or not isinstance(value, str) or value in _NAMES or not job.flag(section, "load_in_4bit"):
        return
    meant = compute_dtype_name(job, value)
    yield Fault(
        job.place_of(option),
        f"`{value}` is not the name of a floating-point type of torch: loading the model stops",
        help=f"write `{meant or 'bfloat16'}`",
        fix=setting_fix(job, section, name, meant, f"Write `{meant}`", Applicability.SAFE) if meant else None,
    )
