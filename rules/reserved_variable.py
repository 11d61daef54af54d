"""A variable of `trainer.env` that Trainer sets itself."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import TRAIN_JOB, parts

CODE = "KT810"
NAME = "reserved-variable"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_RESERVED = ("PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT")


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield each variable that is reserved."""
    for variable in parts(run.manifest, "spec", "trainer", "env") if run.kind == TRAIN_JOB else ():
        named = variable.given("name")
        if named is not None and named.text in _RESERVED:
            yield Fault(
                named.value,
                f"Trainer sets `{named.text}` itself; its webhook refuses a TrainJob that does",
                help="remove it, and state `numNodes` and `numProcPerNode`",
            )
