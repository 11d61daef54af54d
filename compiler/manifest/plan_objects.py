"""Read-only views of the objects that run a plan without Kaito: TrainJob, its runtimes, JobSet, PyTorchJob."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.manifest.objects import Field, Manifest
from kaitoc.compiler.manifest.recognition import PLAN_KEY, PLAN_LABEL
from kaitoc.compiler.yaml.kubernetes import json_content
from kaitoc.compiler.yaml.tree import Mapping

TRAIN_JOB, RUNTIME, JOB_SET, PYTORCH_JOB = "TrainJob", "TrainingRuntime", "JobSet", "PyTorchJob"
CLUSTER_RUNTIME = "ClusterTrainingRuntime"
"""What a TrainJob names whose `runtimeRef` states no kind (default in the CRD of TrainJob, all releases)."""
RUNTIMES = frozenset({RUNTIME, CLUSTER_RUNTIME})
PLAN_GROUPS = {
    TRAIN_JOB: "trainer.kubeflow.org",
    RUNTIME: "trainer.kubeflow.org",
    CLUSTER_RUNTIME: "trainer.kubeflow.org",
    JOB_SET: "jobset.x-k8s.io",
    PYTORCH_JOB: "kubeflow.org",
}
"""The API group of each kind that can run a plan."""

PROCESSES = "kaitoc.dev/processes"
NEEDED_BYTES = "kaitoc.dev/needed-bytes"
GPU = "kaitoc.dev/gpu"

ANCESTOR_LABEL = "trainer.kubeflow.org/trainjob-ancestor-step"
INSTANCE_TYPE_LABEL = "node.kubernetes.io/instance-type"
NODE = "node"
"""What Trainer calls the replicated job and the container that train (`pkg/constants/constants.go`)."""
PYTORCH = "pytorch"
"""What the training operator v1 calls the container that trains."""

_MAX_DIGITS = 18
_MAX_POD_NAME = 63
_SUFFIX = len("-abcde")
"""What the Job controller adds to a pod's name; JobSet's webhook counts it (`jobset_webhook.go`)."""


def runs_plan(manifest: Manifest) -> bool:
    """Return whether an object says of itself that it runs a plan; all others are another program's."""
    group = manifest.api_version.partition("/")[0]
    return PLAN_GROUPS.get(manifest.ref.kind) == group and _has_label(manifest)


def holds_plan(manifest: Manifest) -> bool:
    """Return whether a ConfigMap says of itself that it holds a plan."""
    return manifest.is_config_map and _has_label(manifest)


def plan_name(manifest: Manifest) -> Field | None:
    """Return the name of a run's plan: a TrainJob states its runtime's, which is the same where `--emit` wrote both.

    Raises `UnknownValueError`.
    """
    return manifest.given("spec", "runtimeRef", "name") if manifest.ref.kind == TRAIN_JOB else plan_volume(manifest)


def max_run_name_length(num_nodes: int, replicated_job: str = NODE, replicas: int = 1) -> int:
    """Compute the longest run name whose pod names stay within 63 characters."""
    return _MAX_POD_NAME - len(f"-{replicated_job}-{replicas - 1}-{num_nodes - 1}") - _SUFFIX


@dataclass(frozen=True, slots=True, eq=False)
class PodGroup:
    """Pods of one template: those of a replicated job, or of the Master or the Workers of a PyTorchJob.

    `holder` has the template, `job` is the spec of the Job that makes the pods; a PyTorchJob has none.
    """

    name: str
    holder: Manifest
    job: Manifest | None
    pod: Manifest

    @property
    def containers(self) -> tuple[Manifest, ...]:
        """Return the containers without those that only initialize."""
        return parts(self.pod, "containers")

    @property
    def trainer(self) -> Manifest | None:
        """Return the container that reads a plan, else the one that a controller looks for; others are sidecars."""
        containers = self.containers
        reading = (one for one in containers if any(_is_plan(argument) for argument in one.fields("args")))
        named = (one for one in containers if one.text("name") in (NODE, PYTORCH))
        return next(reading, None) or next(named, None) or next(iter(containers), None)

    def mount_at(self, container: Manifest, path: str) -> Manifest | None:
        """Return the mount that a path of a container lies in, None for the image's own files."""
        mounts = {mount.text("mountPath").rstrip("/"): mount for mount in parts(container, "volumeMounts")}
        under = [at for at in mounts if path == at or path.startswith(f"{at}/")]
        return mounts[max(under, key=len)] if under else None

    def volume_at(self, container: Manifest, path: str) -> Manifest | None:
        """Return the volume that a path of a container lies in, None for the image's own files."""
        mount = self.mount_at(container, path)
        name = mount.text("name") if mount is not None else None
        return next((volume for volume in parts(self.pod, "volumes") if volume.text("name") == name), None)

    def variable(self, name: str) -> Manifest | None:
        """Return a variable of a container's environment, whatever its value comes from."""
        variables = (variable for container in self.containers for variable in parts(container, "env"))
        return next((variable for variable in variables if variable.text("name") == name), None)

    def value_of(self, name: str) -> Field | None:
        """Return the value that a container's environment states for a variable, None where it comes from elsewhere."""
        variable = self.variable(name)
        return variable.given("value") if variable is not None else None


def job_set_of(manifest: Manifest) -> Manifest | None:
    """Return the spec of the JobSet that an object is or that a runtime makes."""
    if manifest.ref.kind == JOB_SET:
        return part(manifest, "spec")
    return part(manifest, "spec", "template", "spec") if manifest.ref.kind in RUNTIMES else None


def pod_groups(manifest: Manifest) -> Iterator[PodGroup]:
    """Yield the groups of pods that an object has a template for."""
    if manifest.ref.kind == PYTORCH_JOB:
        for name in ("Master", "Worker"):
            holder = part(manifest, "spec", "pytorchReplicaSpecs", name)
            pod = part(holder, "template", "spec") if holder is not None else None
            if holder is not None and pod is not None:
                yield PodGroup(name, holder, None, pod)
        return
    job_set = job_set_of(manifest)
    for holder in parts(job_set, "replicatedJobs") if job_set is not None else ():
        job, pod = part(holder, "template", "spec"), part(holder, "template", "spec", "template", "spec")
        if pod is not None:
            yield PodGroup(holder.text("name"), holder, job, pod)


def plan_volume(manifest: Manifest) -> Field | None:
    """Return the name of the ConfigMap that an object's pods read their plan from; raises `UnknownValueError`."""
    for group in pod_groups(manifest):
        for container in group.containers:
            for argument in container.fields("args"):
                volume = group.volume_at(container, argument.text or "") if _is_plan(argument) else None
                if volume is not None:
                    return volume.given("configMap", "name")
    return None


def part(manifest: Manifest, *path: str) -> Manifest | None:
    """Return the mapping at a path with an object's way of reading fields."""
    field = manifest.field(*path)
    return _as_manifest(manifest, field) if field is not None else None


def parts(manifest: Manifest, *path: str) -> tuple[Manifest, ...]:
    """Return the mappings in the list at a path."""
    found = (_as_manifest(manifest, field) for field in manifest.fields(*path))
    return tuple(one for one in found if one is not None)


def number(field: Field | None) -> int | None:
    """Return the whole number that a field holds, None for another value, for text too."""
    value = json_content(field.node).value if field is not None else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number_in_text(field: Field | None) -> int | None:
    """Return the whole number that a field holds as text, as environments and quantities are written."""
    text = field.text if field is not None else None
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return int(text) if text is not None and is_number else None


def _is_plan(argument: Field) -> bool:
    return (argument.text or "").endswith(f"/{PLAN_KEY}")


def _has_label(manifest: Manifest) -> bool:
    return bool(manifest.written_text("metadata", "labels", PLAN_LABEL))


def _as_manifest(owner: Manifest, field: Field) -> Manifest | None:
    if not isinstance(field.node, Mapping):
        return None
    return Manifest(owner.source, field.node, owner.api_version, owner.ref, field.pointer)
