"""A TrainJob without `trainer`, whose nodes do not know of each other."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import TRAIN_JOB

CODE = "KT805"
NAME = "missing-trainer"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield a TrainJob whose `spec` has no `trainer`."""
    spec = run.manifest.given("spec") if run.kind == TRAIN_JOB else None
    if spec is None or run.manifest.given("spec", "trainer") is not None:
        return
    yield Fault(
        spec.key,
        "without `trainer`, Trainer starts as many pods as the runtime says, and they do not know of each other",
        help="state `trainer` with `numNodes`, `numProcPerNode` and `resourcesPerNode`",
    )
