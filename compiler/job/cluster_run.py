"""A run of a plan on a cluster: the object that asks for it, what has its pods, and its plan."""

from __future__ import annotations

from collections.abc import Callable

from kaitoc.compiler.catalog.gpus import Gpu, find_gpu, find_instance_type
from kaitoc.compiler.core.memo import Memo
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.job.job import Assumptions
from kaitoc.compiler.manifest.objects import Field, Manifest, Place
from kaitoc.compiler.manifest.plan_objects import (
    ANCESTOR_LABEL,
    GPU,
    INSTANCE_TYPE_LABEL,
    JOB_SET,
    NODE,
    PROCESSES,
    PYTORCH_JOB,
    RUNTIME,
    TRAIN_JOB,
    PodGroup,
    number,
    number_in_text,
    part,
    pod_groups,
)
from kaitoc.compiler.memory.result import Footprint


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What a readable plan says; `footprint` is what each process needs on a GPU, None where that is not known."""

    num_processes: int
    output_path: str
    footprint: Callable[[Gpu], Footprint | None]


@dataclass(frozen=True, slots=True)
class World:
    """How many processes a manifest starts; what is not known is None. `place` is where the nodes are stated."""

    num_nodes: int | None
    processes_per_node: int | None
    place: Place

    @property
    def num_processes(self) -> int | None:
        """Return the processes on all nodes."""
        if self.num_nodes is None or self.processes_per_node is None:
            return None
        return self.num_nodes * self.processes_per_node


@dataclass(frozen=True, slots=True, eq=False)
class ClusterRun:
    """One run; a runtime that no TrainJob at hand uses is one too, and so is a ConfigMap with a plan.

    `pods_of` is the object with the templates of the pods: a TrainJob's runtime, None where that is not at hand.
    `plan_problem` is why the runtime refuses the plan; `missing_plan` names a ConfigMap that is nowhere to be found.
    """

    manifest: Manifest
    pods_of: Manifest | None
    config_map: Manifest | None
    missing_plan: Field | None
    plan: PlanFacts | None
    plan_problem: str
    assumptions: Assumptions
    memo: Memo = field(default_factory=Memo, init=False)

    @property
    def kind(self) -> str:
        """Return the kind of the object that asks for the run."""
        return self.manifest.ref.kind

    @property
    def pod_groups(self) -> tuple[PodGroup, ...]:
        """Return the groups of pods; raises `UnknownValueError`."""
        pods_of = self.pods_of
        return self.memo.get("pod groups", lambda: tuple(pod_groups(pods_of)) if pods_of is not None else ())

    @property
    def world(self) -> World:
        """Count the nodes and processes that the manifest starts; raises `UnknownValueError`."""
        return self.memo.get("world", lambda: _WORLDS.get(self.kind, _unknown_world)(self))

    @property
    def expected_processes(self) -> int | None:
        """Read the number of processes the plan expects, from the plan or else the object's annotation."""
        if self.plan is not None:
            return self.plan.num_processes
        return number_in_text(self.manifest.given("metadata", "annotations", PROCESSES))

    @property
    def may_have_peers(self) -> bool:
        """Return whether several nodes train together, as far as is known."""
        num_nodes = self.world.num_nodes
        return num_nodes is None or num_nodes > 1

    @property
    def gpu(self) -> tuple[Gpu, Place] | None:
        """Return the smallest GPU of the nodes that the pods select, else the annotation's, and where it is stated."""
        groups = self.pod_groups if self.kind == PYTORCH_JOB else filter(None, [training_group(self)])
        selectors = [group.pod.given("nodeSelector", INSTANCE_TYPE_LABEL) for group in groups]
        stated_types = [(find_instance_type(one.text or ""), one.value) for one in selectors if one is not None]
        if stated_types:
            gpus = [(one.gpu, place) for one, place in stated_types if one is not None and one.gpu is not None]
            return min(gpus, key=lambda gpu: gpu[0].memory_bytes, default=None)
        stated = self.manifest.given("metadata", "annotations", GPU)
        gpu = find_gpu(stated.text or "") if stated is not None else None
        return (gpu, stated.value) if stated is not None and gpu is not None else None


def num_gpus(run: ClusterRun) -> int | None:
    """Read the GPUs that a node's pod requests, 0 for none, None when neither resources nor pods are known."""
    trainer = part(run.manifest, "spec", "trainer") if run.kind == TRAIN_JOB else None
    resources = part(trainer, "resourcesPerNode") if trainer is not None else None
    holders = [resources] if resources is not None else [
        found for group in run.pod_groups for container in group.containers
        if (found := part(container, "resources")) is not None
    ]  # fmt: skip
    if not holders and run.pods_of is None:
        return None
    return max((_gpus_in(holder) for holder in holders), default=0)


def _gpus_in(resources: Manifest) -> int:
    """Return the largest count of a resource with `gpu` in its name, which is how Trainer counts them."""
    counts = (
        number_in_text(amounts.given(entry.name))
        for kind in ("limits", "requests")
        if (amounts := part(resources, kind)) is not None
        for entry in amounts.node.effective_entries()
        if "gpu" in entry.name.lower()
    )
    return max((count or 0 for count in counts), default=0)


def _world_of_train_job(run: ClusterRun) -> World:
    trainer = part(run.manifest, "spec", "trainer")
    stated = trainer.given("numNodes") if trainer is not None else None
    default = run.pods_of.given("spec", "mlPolicy", "numNodes") if run.pods_of is not None else None
    num_nodes = number(stated or default) if stated or default else 1 if run.pods_of is not None else None
    each = trainer.given("numProcPerNode") if trainer is not None else None
    per_node = number(each) if each is not None else num_gpus(run) or None
    return World(num_nodes, per_node, (stated.value if stated is not None else run.manifest.place))


def _world_of_runtime(run: ClusterRun) -> World:
    """Return as many nodes as the plan needs for its processes: the TrainJob that states them is not at hand."""
    per_node, expected = num_gpus(run) or None, run.expected_processes
    is_whole = per_node is not None and expected is not None and expected % per_node == 0
    return World(expected // per_node if is_whole and expected and per_node else None, per_node, run.manifest.place)


def _unknown_world(run: ClusterRun) -> World:
    return World(None, None, run.manifest.place)


def _world_of_job_set(run: ClusterRun) -> World:
    group = training_group(run)
    if group is None or group.job is None:
        return _unknown_world(run)
    stated = group.job.given("completions") or group.job.given("parallelism")
    pods, replicas = number(stated) if stated is not None else 1, replicas_of(group)
    place = stated or group.value_of("PET_NNODES")
    return World(
        pods * replicas if pods is not None and replicas is not None else None,
        _processes_per_node(run, group.value_of("PET_NPROC_PER_NODE")),
        place.value if place is not None else group.holder.place,
    )


def _world_of_pytorch_job(run: ClusterRun) -> World:
    replicas = {group.name: group.holder.given("replicas") for group in run.pod_groups}
    counts = [number(stated) if stated is not None else 1 for stated in replicas.values()]
    known = [count for count in counts if count is not None]
    each = run.manifest.given("spec", "nprocPerNode")
    stated = replicas.get("Worker") or each
    place = stated.value if stated is not None else run.manifest.place
    num_nodes = sum(known) if known and len(known) == len(counts) else None
    return World(num_nodes, _processes_per_node(run, each), place)


def _processes_per_node(run: ClusterRun, stated: Field | None) -> int | None:
    """Return a stated number of processes; the runtime takes one per GPU where there is none."""
    if stated is None or stated.text in ("auto", "gpu"):
        return num_gpus(run) or None
    return number_in_text(stated)


_WORLDS: dict[str, Callable[[ClusterRun], World]] = {
    TRAIN_JOB: _world_of_train_job,
    JOB_SET: _world_of_job_set,
    PYTORCH_JOB: _world_of_pytorch_job,
    RUNTIME: _world_of_runtime,
}


def replicas_of(group: PodGroup) -> int | None:
    """Count the Jobs of a replicated job, or the pods of the Master or Worker; None where that is not known."""
    stated = group.holder.given("replicas")
    return number(stated) if stated is not None else 1


def training_group(run: ClusterRun) -> PodGroup | None:
    """Return the pods that train: those Trainer takes for it, else those of the job `node`, else of the only one."""
    groups = run.pod_groups
    labels = ("template", "metadata", "labels", ANCESTOR_LABEL)
    labelled = next((group for group in groups if group.holder.known_text(*labels) == "trainer"), None)
    named = next((group for group in groups if group.name == NODE), None)
    return labelled or named or (groups[0] if len(groups) == 1 else None)
