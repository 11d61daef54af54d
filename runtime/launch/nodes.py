"""Which node of several this is, by the environment that Trainer, a JobSet or the training operator v1 gives a pod."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kaitoc.runtime.failures import FinalFailure
from kaitoc.runtime.world import default_num_processes, is_launched

SILENCE_VARIABLE = "KAITOC_SILENCE_SECONDS"
_SILENCE_SECONDS = 60.0
"""A node that is lost without a farewell is noticed sooner than Kubernetes evicts its pods (300 s)."""
_MIN_SILENCE_SECONDS = 5.0
_COUNTED = ("auto", "gpu", "cpu")
"""What Trainer writes for processes where a TrainJob states no number."""


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """The nodes that train together, and this one's place among them; node 0 is at `address`.

    One that gives no sign of life for `silence_seconds` is lost.
    """

    num_nodes: int
    rank: int
    processes_per_node: int
    address: str
    port: int
    silence_seconds: float = _SILENCE_SECONDS

    def describe(self) -> str:
        """Describe this node's number and the ranks of its processes."""
        first = self.rank * self.processes_per_node
        last = first + self.processes_per_node - 1
        ranks = f"rank {first}" if first == last else f"ranks {first}-{last}"
        return f"node {self.rank} of {self.num_nodes}, {ranks}, meeting at {self.address}:{self.port}"


def node_group(num_processes: int, device: str, environment: Mapping[str, str]) -> NodeGroup | None:
    """Return the nodes of a run whose processes are to be started here, None for a run of one node.

    `PET_*` is torchrun's configuration: Trainer and JobSets of `kaitoc compile` state all of it. The training operator
    v1 states a part, and for the rest `WORLD_SIZE`, `RANK` (this node's) and `MASTER_*`. Raises `FinalFailure` for an
    environment that contradicts the plan.
    """
    if is_launched():
        return None
    per_node = _processes_per_node(environment, device)
    if "PET_NNODES" in environment:
        num_nodes = _number(environment, "PET_NNODES")
    elif "PET_NPROC_PER_NODE" in environment and "WORLD_SIZE" in environment:
        num_nodes = _num_nodes(_number(environment, "WORLD_SIZE"), per_node)
    elif "PET_NODE_RANK" in environment and "WORLD_SIZE" not in environment:
        raise FinalFailure("PET_NODE_RANK is set and PET_NNODES is not: each node would train alone")
    else:
        return None
    if num_nodes * per_node != num_processes:
        raise FinalFailure(
            f"the plan is for {num_processes} processes, but the environment says {num_nodes} x {per_node} "
            "(nodes x processes): emit the manifests again, or set `num_processes` in the plan"
        )
    if num_nodes == 1:
        return None
    rank = _number(environment, "PET_NODE_RANK", "RANK")
    address = environment.get("PET_MASTER_ADDR") or environment.get("MASTER_ADDR")
    if not address or rank >= num_nodes:
        raise FinalFailure(f"{num_nodes} nodes need PET_MASTER_ADDR, and PET_NODE_RANK from 0 to {num_nodes - 1}")
    port = _number(environment, "PET_MASTER_PORT", "MASTER_PORT")
    return NodeGroup(num_nodes, rank, per_node, address, port, _silence_seconds(environment))


def _num_nodes(num_processes: int, per_node: int) -> int:
    num_nodes, remainder = divmod(num_processes, per_node)
    if remainder and num_nodes:
        raise FinalFailure(
            f"WORLD_SIZE is {num_processes}, which nodes of {per_node} processes (PET_NPROC_PER_NODE) do not make"
        )
    return max(1, num_nodes)


def _silence_seconds(environment: Mapping[str, str]) -> float:
    stated = environment.get(SILENCE_VARIABLE, str(_SILENCE_SECONDS))
    try:
        seconds = float(stated)
    except ValueError:
        seconds = math.nan
    if not _MIN_SILENCE_SECONDS <= seconds < math.inf:
        raise FinalFailure(
            f"{SILENCE_VARIABLE} must be a number of seconds from {_MIN_SILENCE_SECONDS:g}, not {stated!r}"
        )
    return seconds


def _processes_per_node(environment: Mapping[str, str], device: str) -> int:
    if environment.get("PET_NPROC_PER_NODE", "auto") in _COUNTED:
        return default_num_processes(device)
    return max(1, _number(environment, "PET_NPROC_PER_NODE"))


def _number(environment: Mapping[str, str], *names: str) -> int:
    """Return the number in the first of some variables that is set; raises `FinalFailure`."""
    name = next((name for name in names if name in environment), None)
    if name is None:
        raise FinalFailure(f"{names[0]} is not set; it must be a number")
    stated = environment[name]
    if not stated.isascii() or not stated.isdigit():
        raise FinalFailure(f"{name} must be a number, not {stated!r}")
    return int(stated)
