"""Results in a volume that each node has for itself."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun, training_group
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import PYTORCH_JOB, PodGroup

CODE = "KT814"
NAME = "node-local-results"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_LOCAL = ("emptyDir", "hostPath")


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield the volume that results are written to where several nodes would each have their own."""
    plan, group = run.plan, training_group(run)
    if plan is None or (run.world.num_nodes or 1) == 1:
        return
    for training in run.pod_groups if run.kind == PYTORCH_JOB else [group]:
        if training is not None and training.containers:
            yield from _faults(training, plan.output_path)


def _faults(group: PodGroup, output_path: str) -> Iterator[Fault]:
    container = group.containers[0]
    volume = group.volume_at(container, output_path)
    local = next((found for name in _LOCAL if volume is not None and (found := volume.given(name)) is not None), None)
    if volume is not None and local is None:
        return
    mounts = container.given("volumeMounts") or container.given("name")
    place = local.key if local is not None else mounts.key if mounts is not None else group.holder.place
    yield Fault(
        place,
        f"results go to `{output_path}`, which is local to each node; the runtime stops (exit code 2)",
        help="mount a ReadWriteMany PersistentVolumeClaim there",
    )
