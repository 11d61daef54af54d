"""Load frozen weights in half precision where float32 is only what the release takes when nothing is said."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import workload_of
from kaitoc.compiler.memory.workload import Dtype, Quantization
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_to

NAME = "repair-weights"

_SECTION = "ModelConfig"


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield `torch_dtype: bfloat16` for weights that nobody asked to be float32, on GPUs that compute in it."""
    workload = workload_of(job)
    if workload is None or workload.quantization is not Quantization.NONE or workload.dtype is not Dtype.FLOAT32:
        return
    has_bfloat16 = job.gpu is None or job.gpu.value.has_bf16
    is_stated = job.option(_SECTION, "torch_dtype") is not None
    if is_stated or not has_bfloat16 or not context.preserve.allows(Preserves.STATISTICAL):
        return
    reason = f"the default is float32 in {job.release.name}: twice the memory of the checkpoint's own bfloat16"
    yield set_to(job, _SECTION, "torch_dtype", "bfloat16", reason, Preserves.STATISTICAL)
