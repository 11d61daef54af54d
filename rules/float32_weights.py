"""Weights loaded in float32 or float64."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of, workload_of
from kaitoc.compiler.memory.workload import Dtype, Quantization
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._memory import needs, option_place

CODE = "KT508"
NAME = "float32-weights"
SEVERITY = Severity.WARNING
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workload, predicted = workload_of(job), footprint_of(job)
    if workload is None or predicted is None or workload.dtype not in (Dtype.FLOAT32, Dtype.FLOAT64):
        return
    if workload.quantization is not Quantization.NONE:
        return
    half = needs(job, replace(workload, dtype=Dtype.BFLOAT16))
    if half is None:
        return
    stated = job.setting("ModelConfig", "torch_dtype").is_stated
    how = (
        f"`torch_dtype` is {workload.dtype.value}"
        if stated
        else f"`torch_dtype` is not set, which means float32 in {job.release.name}"
    )
    yield Fault(
        option_place(job, "ModelConfig", "torch_dtype"),
        f"{how}: needs {gib(predicted.device_bytes)} GiB; with bfloat16 weights {gib(half.device_bytes)}",
        help='write `torch_dtype: "bfloat16"`' + ("; `kaitoc compile` keeps a type that is set" if stated else ""),
        fix=setting_fix(
            job, "ModelConfig", "torch_dtype", "bfloat16", "Load the weights in bfloat16", Applicability.UNSAFE
        ),
    )
