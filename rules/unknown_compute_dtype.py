"""A `bnb_4bit_compute_dtype` that is not the name of a torch type."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import (
    compute_dtype_name,
)
from kaitoc.compiler.kaito.argument_table import release_arguments
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import is_on_kaito
from kaitoc.rules._problems import STOPS

CODE = "KT422"
NAME = "unknown-compute-dtype"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_NAMES = ("float32", "float", "float16", "half", "bfloat16", "float64", "double")


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the type of the computation cannot be one, whatever the weights are."""
    section, name = "QuantizationConfig", "bnb_4bit_compute_dtype"
    option, value = job.option(section, name), job.value(section, name)
    if option is None or not isinstance(value, str) or value in _NAMES or option.plain is None:
        return
    if not is_on_kaito(job) and not job.flag(section, "load_in_4bit"):
        return
    is_dtype = value in release_arguments(job.args_release).dtypes
    if is_dtype and not job.flag(section, "load_in_4bit"):
        return
    is_overruled = is_dtype and is_on_kaito(job)
    if is_overruled:
        effect = "bitsandbytes computes in the type of a layer's input, which is float32 or bfloat16 here"
    else:
        effect = "loading the model stops" if is_dtype else STOPS
    meant = compute_dtype_name(job, value)
    yield Fault(
        job.place_of(option),
        f"`{value}` is not the name of a floating-point type of torch: {effect}",
        severity=Severity.WARNING if is_overruled else Severity.ERROR,
        help=f"write `{meant or 'bfloat16'}`",
        fix=setting_fix(job, section, name, meant, f"Write `{meant}`", Applicability.SAFE) if meant else None,
    )
