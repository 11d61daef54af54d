"""A plan whose processes do not fit on the GPUs of the nodes."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import NEEDED_BYTES, number_in_text
from kaitoc.compiler.memory.closed_form.footprint import verdict
from kaitoc.compiler.memory.result import Verdict

CODE = "KT816"
NAME = "outgrown-gpu"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield a GPU that even the low end of the estimate does not fit on, without a plan the annotated bytes."""
    found = run.gpu
    if found is None:
        return
    gpu, place = found
    predicted = run.plan.footprint(gpu) if run.plan is not None else None
    if predicted is not None:
        is_outgrown = verdict(predicted, gpu, run.assumptions.margin) is Verdict.DOES_NOT_FIT
        needed_bytes = predicted.device_bytes
    else:
        needed_bytes = number_in_text(run.manifest.given("metadata", "annotations", NEEDED_BYTES)) or 0
        is_outgrown = needed_bytes > gpu.memory_bytes
    if is_outgrown:
        yield Fault(
            place,
            f"each process needs {gib(needed_bytes)} GiB; one {gpu.name} has {gib(gpu.memory_bytes)} GiB",
            help="select a larger instance type, or emit with `--nodes auto`, which chooses nodes and sharding",
        )
