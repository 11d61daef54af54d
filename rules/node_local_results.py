"""Results in a volume that each node has for itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun, training_group
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.objects import Field, Manifest
from kaitoc.compiler.manifest.plan_objects import PYTORCH_JOB, PodGroup

CODE = "KT814"
NAME = "node-local-results"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_LOCAL = ("emptyDir", "hostPath", "ephemeral")
_INDEX = "JOB_COMPLETION_INDEX"
"""A variable that Kubernetes adds to the pods of an indexed Job."""
_SHARED_FIELD = "metadata.namespace"


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield the volume that results are written to where several nodes would each have their own."""
    plan, group = run.plan, training_group(run)
    if plan is None or (run.world.num_nodes or 1) == 1:
        return
    for training in run.pod_groups if run.kind == PYTORCH_JOB else [group]:
        if training is not None and training.trainer is not None:
            yield from _faults(training, training.trainer, plan.output_path)


def _faults(group: PodGroup, container: Manifest, output_path: str) -> Iterator[Fault]:
    volume = group.volume_at(container, output_path)
    local = next((found for name in _LOCAL if volume is not None and (found := volume.given(name)) is not None), None)
    local = local or _own_folder(group, container, output_path)
    if volume is not None and local is None:
        return
    mounts = container.given("volumeMounts") or container.given("name")
    place = local.key if local is not None else mounts.key if mounts is not None else group.holder.place
    yield Fault(
        place,
        f"results go to `{output_path}`, which is local to each node; the runtime stops (exit code 2)",
        help="mount a ReadWriteMany PersistentVolumeClaim there",
    )


def _own_folder(group: PodGroup, container: Manifest, output_path: str) -> Field | None:
    """Return a folder of a shared volume whose name is another one in each pod."""
    mount = group.mount_at(container, output_path)
    stated = mount.given("subPathExpr") if mount is not None else None
    # `$(NAME)` is a placeholder of the pod's own, not one of a template.
    for name in re.findall(r"\$\(([^)]+)\)", mount.written_text("subPathExpr") if mount is not None else ""):
        variable = group.variable(name)
        source = variable.given("valueFrom", "fieldRef", "fieldPath") if variable is not None else None
        if name == _INDEX or (source is not None and source.text != _SHARED_FIELD):
            return stated
    return None
