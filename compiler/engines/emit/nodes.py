"""How many nodes a plan takes, and how its processes share the model."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.engines.emit.options import MAX_NODES, EmitError
from kaitoc.compiler.plan.memory import shared_footprint
from kaitoc.compiler.plan.plan import Plan


@dataclass(frozen=True, slots=True)
class World:
    """The nodes of a run and the processes on each; `needed_bytes` is what one process needs, None if not known."""

    num_nodes: int
    processes_per_node: int
    sharding: str
    needed_bytes: int | None

    @property
    def num_processes(self) -> int:
        """Return the number of processes on all nodes."""
        return self.num_nodes * self.processes_per_node


def world_of(plan: Plan, instance: InstanceType, num_nodes: int | None, margin: float) -> World:
    """Return the nodes for a plan, the fewest that its memory fits on for None.

    Each GPU has a process. A plan that fits on one GPU is copied to all (DDP); one that does not is sharded over them.
    Raises `EmitError` when it does not fit on as many as asked for.
    """
    gpu = instance.gpu
    if gpu is None:
        raise EmitError(f"{instance.name} has no GPU that a run can use")
    whole_bytes = _needed_bytes(plan, gpu, max(2, plan.num_processes), "ddp")
    if whole_bytes is None:
        if num_nodes is None:
            raise EmitError("--nodes auto needs a memory estimate, and there is none for this model; give a number")
        return World(num_nodes, instance.num_gpus, plan.sharding, None)
    room_bytes = int(gpu.memory_bytes * (1 - margin))
    if whole_bytes <= room_bytes:
        return World(num_nodes or 1, instance.num_gpus, "ddp", whole_bytes)
    if plan.quantization.method == "int8":
        raise EmitError(
            f"one process needs {format_gib(whole_bytes)}, more than a {gpu.name} has, and a model in "
            "8 bit cannot be sharded; use `load_in_4bit`"
        )
    smallest = _smallest(plan, instance, room_bytes)
    if smallest is None:
        raise EmitError(
            f"one process needs more than the {format_gib(room_bytes)} that a {gpu.name} has free, on any number of "
            "nodes: activations are not sharded; shorten `max_length` or lower the batch size"
        )
    if num_nodes is not None and num_nodes < smallest:
        needed = _needed_bytes(plan, gpu, num_nodes * instance.num_gpus, "fsdp2") or whole_bytes
        raise EmitError(
            f"--nodes {num_nodes}: one process needs {format_gib(needed)} of a {gpu.name} that has "
            f"{format_gib(room_bytes)} free; it fits from {smallest} nodes on (--nodes {smallest})"
        )
    world = num_nodes or smallest
    return World(world, instance.num_gpus, "fsdp2", _needed_bytes(plan, gpu, world * instance.num_gpus, "fsdp2"))


def _smallest(plan: Plan, instance: InstanceType, room_bytes: int) -> int | None:
    for count in range(1, MAX_NODES + 1):
        if count * instance.num_gpus == 1 or instance.gpu is None:
            continue
        needed = _needed_bytes(plan, instance.gpu, count * instance.num_gpus, "fsdp2")
        if needed is not None and needed <= room_bytes:
            return count
    return None


def _needed_bytes(plan: Plan, gpu: Gpu, num_processes: int, sharding: str) -> int | None:
    """Return what one of several processes reserves, None where no run can be so or the model is not known."""
    found = shared_footprint(plan, gpu, num_processes=num_processes, sharding=sharding)
    if found is not None:
        return found.reserved_bytes
    return plan.predicted.reserved_bytes if plan.predicted is not None and sharding == "ddp" else None
