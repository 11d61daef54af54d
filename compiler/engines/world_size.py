"""How many nodes a plan takes, and how its processes share the model."""

from __future__ import annotations

import math
from bisect import bisect_left

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.engines.emit_options import MAX_NODES, EmitError
from kaitoc.compiler.memory.closed_form.validation import validate_group
from kaitoc.compiler.memory.workload import WorkloadError
from kaitoc.compiler.plan.memory import shared_footprint
from kaitoc.compiler.plan.plan import Plan


@dataclass(frozen=True, slots=True)
class World:
    """The nodes of a run and the processes on each; `needed_bytes` is what one process needs, None if not known.

    `shard_group` processes hold one copy of a sharded model together, all of them where it is None.
    """

    num_nodes: int
    processes_per_node: int
    sharding: str
    needed_bytes: int | None
    shard_group: int | None = None

    @property
    def num_processes(self) -> int:
        """Multiply nodes by processes per node: the world size."""
        return self.num_nodes * self.processes_per_node

    def applied_to(self, plan: Plan) -> Plan:
        """Return a plan for these processes."""
        changes = {
            "num_processes": self.num_processes,
            "sharding": self.sharding,
            "num_nodes": self.num_nodes,
            "shard_group": self.shard_group,
        }
        return plan.model_copy(update=changes)

    @property
    def words(self) -> str:
        """Name the sharding in messages, such as `fsdp2 in 2 groups of 8`."""
        if self.shard_group is None:
            return self.sharding
        return f"{self.sharding} in {self.num_processes // self.shard_group} groups of {self.shard_group}"


def world_of(
    plan: Plan, instance: InstanceType, num_nodes: int | None, margin: float, shard_group: int | None = None
) -> World:
    """Return the nodes for a plan, the fewest that its memory fits on for None.

    Each GPU has a process. A plan that fits on one GPU is copied to all (DDP). One that does not is sharded: over the
    GPUs of each node where they hold a copy, else over all, or over groups of a size that is asked for. Raises
    `EmitError` when it does not fit on as many nodes as asked for.
    """
    gpu = instance.gpu
    if gpu is None:
        raise EmitError(f"{instance.name} has no GPU that a run can use")
    if num_nodes is not None:
        _require_group(num_nodes * instance.num_gpus, shard_group)
    whole_bytes = _needed_bytes(plan, gpu, max(2, plan.num_processes), "ddp")
    if whole_bytes is None:
        if num_nodes is None:
            raise EmitError("--nodes auto needs a memory estimate, and there is none for this model; give a number")
        return World(num_nodes, instance.num_gpus, plan.sharding, None, shard_group)
    room_bytes = int(gpu.memory_bytes * (1 - margin))
    if whole_bytes <= room_bytes:
        return World(num_nodes or 1, instance.num_gpus, "ddp", whole_bytes)
    if plan.quantization.method == "int8":
        raise EmitError(
            f"one process needs {format_gib(whole_bytes)}, more than a {gpu.name} has, and an "
            "8-bit model cannot be sharded; use `load_in_4bit`"
        )
    smallest = _smallest(plan, instance, room_bytes, shard_group)
    if smallest is None and shard_group is not None and _smallest(plan, instance, room_bytes, None) is not None:
        raise EmitError(
            f"--shard-group {shard_group}: one process needs more than the {format_gib(room_bytes)} that a {gpu.name} "
            "has free where so few hold a copy; leave it out, or name a larger number"
        )
    if smallest is None:
        raise EmitError(
            f"one process needs more than the {format_gib(room_bytes)} that a {gpu.name} has free, on any number of "
            "nodes: activations are not sharded; shorten `max_length` or lower the batch size"
        )
    if num_nodes is not None and num_nodes < smallest:
        needed = _needed_bytes(plan, gpu, num_nodes * instance.num_gpus, "fsdp2", shard_group) or whole_bytes
        raise EmitError(
            f"--nodes {num_nodes}: one process needs {format_gib(needed)} of a {gpu.name} that has "
            f"{format_gib(room_bytes)} free; it fits on {smallest} or more nodes (--nodes {smallest})"
        )
    chosen = num_nodes or smallest
    num_processes = chosen * instance.num_gpus
    if shard_group is None and smallest == 1 and chosen > 1 and instance.num_gpus > 1:
        shard_group = instance.num_gpus
    elif shard_group == num_processes:
        shard_group = None
    needed_bytes = _needed_bytes(plan, gpu, num_processes, "fsdp2", shard_group)
    return World(chosen, instance.num_gpus, "fsdp2", needed_bytes, shard_group)


def _require_group(num_processes: int, shard_group: int | None) -> None:
    try:
        validate_group(num_processes, shard_group)
    except WorkloadError as error:
        raise EmitError(f"--shard-group {shard_group}: {error}") from error


def _smallest(plan: Plan, instance: InstanceType, room_bytes: int, shard_group: int | None) -> int | None:
    """Return the fewest nodes that a shard fits on, None for none; the more nodes, the smaller a shard."""
    gpu = instance.gpu
    if gpu is None:
        return None

    def fits(num_processes: int) -> bool:
        needed = _needed_bytes(plan, gpu, num_processes, "fsdp2", shard_group)
        return needed is not None and needed <= room_bytes

    step = (shard_group or 1) // math.gcd(shard_group or 1, instance.num_gpus)
    counts = range(step, MAX_NODES + 1, step)
    if not counts or not fits(counts[-1] * instance.num_gpus):
        return None
    return counts[bisect_left(counts, True, key=lambda count: fits(count * instance.num_gpus))]


def _needed_bytes(
    plan: Plan, gpu: Gpu, num_processes: int, sharding: str, shard_group: int | None = None
) -> int | None:
    """Predict one process's reserved bytes, None for an unknown model or an impossible run."""
    asked = plan.model_copy(update={"shard_group": shard_group})
    found = shared_footprint(asked, gpu, num_processes=num_processes, sharding=sharding)
    if found is not None:
        return found.reserved_bytes
    return plan.predicted.reserved_bytes if plan.predicted is not None and sharding == "ddp" else None
