"""Nodes and processes that do not make the number that the plan is for."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun, training_group
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import JOB_SET, PYTORCH_JOB, number, number_in_text

CODE = "KT801"
NAME = "mismatched-world"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_ANEW = "emit the manifests again with `kaitoc compile --emit`"
_NODES = {JOB_SET: "completions", PYTORCH_JOB: "replicas"}


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield a world that is not the plan's, and pods of a JobSet that are not the nodes that they are told of."""
    yield from _split(run)
    world, expected = run.world, run.expected_processes
    if expected is None or world.num_processes in (None, expected):
        return
    per_node = world.processes_per_node or 1
    num_nodes, remainder = divmod(expected, per_node)
    field = _NODES.get(run.kind, "numNodes")
    # The nodes of a PyTorchJob are the Master and its Workers, which two fields state.
    is_direct = remainder == 0 and num_nodes > 0 and run.kind != PYTORCH_JOB
    yield Fault(
        world.place,
        f"{world.num_nodes} x {per_node} (nodes x processes) make {world.num_processes} processes, but the plan is for "
        f"{expected}; every pod fails to start (exit code 2)",
        help=f"set `{field}: {num_nodes}`, or {_ANEW} for other nodes" if is_direct else _ANEW,
    )


def _split(run: ClusterRun) -> Iterator[Fault]:
    group = training_group(run)
    told = group.variable("PET_NNODES") if run.kind == JOB_SET and group is not None else None
    num_nodes = number_in_text(told)
    if group is None or group.job is None or told is None or num_nodes is None:
        return
    for name in ("completions", "parallelism"):
        stated = group.job.given(name)
        count = number(stated) if stated is not None else 1
        if count not in (None, num_nodes):
            place = stated.key if stated is not None else told.value
            message = (
                f"PET_NNODES is {num_nodes}, but `{name}` is {count}: the nodes wait for each other until they fail"
            )
            yield Fault(place, message, help=f"set `{name}: {num_nodes}`")
