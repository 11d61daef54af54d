"""Nodes and processes that do not make the number that the plan is for."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun, num_gpus, replicas_of, training_group
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import JOB_SET, PYTORCH_JOB, RUNTIMES, TRAIN_JOB, number, number_in_text

CODE = "KT801"
NAME = "mismatched-world"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_ANEW = "emit the manifests again with `kaitoc compile --emit`"
_NODES = {JOB_SET: "completions", PYTORCH_JOB: "replicas"}


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield a world that is not the plan's, one that has no fixed size, and pods that are not the nodes of a world."""
    split = list(_split(run))
    yield from split
    yield from _repeated(run)
    yield from _unread(run)
    yield from _elastic(run)
    yield from _without_gpu(run)
    world, expected = run.world, run.expected_processes
    if expected is None or world.num_processes in (None, expected) or split:
        return
    per_node = world.processes_per_node or 1
    num_nodes, remainder = divmod(expected, per_node)
    field = _NODES.get(run.kind, "numNodes")
    # The nodes of a PyTorchJob are the Master and its Workers, which two fields state.
    is_direct = remainder == 0 and num_nodes > 0 and run.kind != PYTORCH_JOB
    yield Fault(
        world.place,
        f"{world.num_nodes} x {per_node} (nodes x processes) make {world.num_processes}, but the plan is for "
        f"{expected}; every pod fails to start (exit code 2)",
        help=f"set `{field}: {num_nodes}`, or {_ANEW} for other nodes" if is_direct else _ANEW,
    )


def _split(run: ClusterRun) -> Iterator[Fault]:
    group = training_group(run)
    told = group.value_of("PET_NNODES") if run.kind == JOB_SET and group is not None else None
    num_nodes, replicas = number_in_text(told), replicas_of(group) if group is not None else None
    if group is None or group.job is None or told is None or num_nodes is None or replicas is None:
        return
    for name in ("completions", "parallelism"):
        stated = group.job.given(name)
        count = number(stated) if stated is not None else 1
        if count is None or count * replicas == num_nodes:
            continue
        place = stated.key if stated is not None else told.value
        what = f"`{name}` is {count}" if replicas == 1 else f"`replicas` x `{name}` is {count * replicas}"
        yield Fault(
            place,
            f"PET_NNODES is {num_nodes}, but {what}: the nodes wait for each other until they fail",
            help=f"set `{name}: {num_nodes}`" + ("" if replicas == 1 else " and `replicas: 1`"),
        )


def _repeated(run: ClusterRun) -> Iterator[Fault]:
    """Yield `replicas` that Trainer's webhook, or the training operator's, refuses."""
    kind = run.pods_of.ref.kind if run.pods_of is not None else ""
    trainer = training_group(run) if kind in RUNTIMES else None
    groups = [trainer] if trainer is not None else [
        group for group in run.pod_groups if kind == PYTORCH_JOB and group.name == "Master"
    ]  # fmt: skip
    for group in groups:
        stated = group.holder.given("replicas")
        if stated is not None and replicas_of(group) not in (None, 1):
            who = "the training operator" if kind == PYTORCH_JOB else "Trainer's webhook"
            field = "`Worker.replicas`" if kind == PYTORCH_JOB else "`numNodes`"
            yield Fault(
                stated.value,
                f"{who} refuses any number of replicas but 1 here",
                help=f"set `replicas: 1`; {field} states the nodes",
            )


def _unread(run: ClusterRun) -> Iterator[Fault]:
    stated = run.manifest.given("spec", "trainer", "numNodes") if run.kind == TRAIN_JOB else None
    if stated is not None and stated.text is not None and number(stated) is None:
        yield Fault(
            stated.value,
            f"the API server refuses `numNodes: {stated.text}`, which is not an integer",
            help="write the number of nodes without quotes",
        )


def _elastic(run: ClusterRun) -> Iterator[Fault]:
    stated = run.manifest.given("spec", "elasticPolicy") if run.kind == PYTORCH_JOB else None
    if stated is not None:
        yield Fault(
            stated.key,
            "with `elasticPolicy` the nodes are a range, but a plan is for a fixed number of processes; every pod "
            "fails to start (exit code 2)",
            help="remove `elasticPolicy`",
        )


def _without_gpu(run: ClusterRun) -> Iterator[Fault]:
    """Yield more processes on a node than it has GPUs; no GPU at all may be a partition or a claim of another name."""
    per_node, gpus = run.world.processes_per_node, num_gpus(run)
    if per_node is None or not gpus or per_node <= gpus:
        return
    group = training_group(run)
    stated = run.manifest.given("spec", "trainer", "numProcPerNode") if run.kind == TRAIN_JOB else None
    stated = stated or run.manifest.given("spec", "nprocPerNode")
    stated = stated or (group.value_of("PET_NPROC_PER_NODE") if group is not None else None)
    yield Fault(
        stated.value if stated is not None else run.world.place,
        f"{per_node} processes start on a node whose pod requests {gpus} GPU{'s' if gpus > 1 else ''}; those without "
        "a GPU fail (exit code 2)",
        help=f"request {per_node} GPUs, or {_ANEW} for other nodes",
    )
