"""A `torch_dtype` that torch has but no model can be trained in."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix

CODE = "KT420"
NAME = "untrainable-dtype"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"

_FLOATS = ("float32", "float", "float16", "half", "bfloat16", "float64", "double")


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when weights would be loaded in a type without gradients or arithmetic."""
    option, value = job.option("ModelConfig", "torch_dtype"), job.value("ModelConfig", "torch_dtype")
    if option is None or not isinstance(value, str) or value in _FLOATS:
        return
    yield Fault(
        job.place_of(option),
        f"`torch_dtype: {value}` is a type of torch, so it parses, but a model cannot have it: loading stops",
        help="write bfloat16; weights are quantized with QuantizationConfig, not here",
        fix=setting_fix(job, "ModelConfig", "torch_dtype", "bfloat16", "Write `bfloat16`", Applicability.UNSAFE),
    )
