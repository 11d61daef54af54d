"""A TrainJob that does not say how many processes a node starts."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun, num_gpus
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import TRAIN_JOB, number, part

CODE = "KT806"
NAME = "uncounted-processes"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield a number that is left to the CPUs of a pod, and one that is not a number from 1 on."""
    trainer = part(run.manifest, "spec", "trainer") if run.kind == TRAIN_JOB else None
    if trainer is None:
        return
    stated, spec = trainer.given("numProcPerNode"), run.manifest.given("spec", "trainer")
    count = number(stated)
    if stated is not None and (count is None or count < 1):
        value = f"`numProcPerNode: {stated.text or ''}`"
        yield Fault(
            stated.value,
            f"Trainer 2.2 and later refuse {value}, which is not a number" if count is None
            else f"no process trains with {value}; releases after Trainer 2.3 refuse it",
            help="state the number of GPUs of a node",
        )  # fmt: skip
    elif stated is None and spec is not None and num_gpus(run) == 0:
        yield Fault(
            spec.key,
            "without `numProcPerNode` and GPUs in the resources, Trainer starts a process for each CPU",
            help="state `numProcPerNode`, and the GPUs in `resourcesPerNode`",
        )
