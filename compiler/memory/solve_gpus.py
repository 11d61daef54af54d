"""The smallest number of GPUs that a fine-tune fits on, over what the catalog has as machines."""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType, all_instance_types
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory.closed_form.footprint import fits
from kaitoc.compiler.memory.closed_form.validation import validate
from kaitoc.compiler.memory.sharding.model import WHOLE_COPIES
from kaitoc.compiler.memory.solve import bisect_last
from kaitoc.compiler.memory.workload import Workload, WorkloadError

MAX_NODES = 64
"""More machines than that are not looked at: what activations need, no number of GPUs divides."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a node may be: GPUs of one kind, and the instance type where it is one of the catalog."""

    gpu: Gpu
    num_gpus: int
    instance: InstanceType | None = None

    @property
    def size(self) -> tuple[float, float, str]:
        """Order machines with equally many GPUs, the smaller first."""
        return (self.gpu.nominal_gib, self.gpu.bf16_flops, self.instance.name if self.instance is not None else "")


@dataclass(frozen=True, slots=True)
class Placement:
    """GPUs that a fine-tune is placed on: all of `num_nodes` machines."""

    machine: Machine
    num_nodes: int

    @property
    def num_gpus(self) -> int:
        """Return the GPUs of the whole job."""
        return self.machine.num_gpus * self.num_nodes

    def of(self, workload: Workload) -> Workload:
        """Return a workload as it would be here."""
        sharding = replace(workload.sharding, num_nodes=self.num_nodes)
        is_alone = self.num_gpus == 1 and not workload.sharding.is_sharded
        return replace(workload, num_gpus=self.num_gpus, sharding=WHOLE_COPIES if is_alone else sharding)


def machines(gpu: Gpu | None = None) -> list[Machine]:
    """Return the instance types that Kaito lists today, those with one kind of GPU where it is named.

    A GPU that no instance type has comes one to a machine.
    """
    listed = [
        Machine(one.gpu, one.num_gpus, one)
        for one in all_instance_types()
        if one.gpu is not None and one.last_release is None and (gpu is None or one.gpu.name == gpu.name)
    ]
    return listed or ([Machine(gpu, 1)] if gpu is not None else [])


def smallest_placement(workload: Workload, choices: Iterable[Machine], margin: float) -> Placement | None:
    """Return the placement with the fewest GPUs that certainly fits, of equal ones that on the smallest; None for none.

    Raises `WorkloadError` for a workload that no number of GPUs makes possible.
    """
    validate(replace(workload, num_gpus=1, sharding=WHOLE_COPIES))
    best: Placement | None = None
    judged = _Judge(workload, margin)
    for machine in sorted(choices, key=lambda one: one.size):
        limit = MAX_NODES if best is None else (best.num_gpus - 1) // machine.num_gpus
        num_nodes = judged.fewest_nodes(machine, min(MAX_NODES, limit))
        if num_nodes is not None:
            best = Placement(machine, num_nodes)
    if best is None and judged.impossible is not None:
        raise judged.impossible
    return best


class _Judge:
    """Judges placements once each; `impossible` is why none is possible, as long as none was."""

    def __init__(self, workload: Workload, margin: float) -> None:
        self._workload = workload
        self._margin = margin
        self._known: dict[tuple[str, int], bool] = {}
        self._is_possible = False
        self._reason: WorkloadError | None = None

    @property
    def impossible(self) -> WorkloadError | None:
        """Return why no placement that was asked for is possible, None where one is."""
        return None if self._is_possible else self._reason

    def fewest_nodes(self, machine: Machine, limit: int) -> int | None:
        """Return the fewest machines up to a limit that suffice, None where none do.

        With a shard group only machines whose GPUs form such groups are looked at, and one alone. Two GPUs, one group
        and two groups have fewer connections than more of them, so they are asked first. From there on what a GPU needs
        never grows with their number, and bisection finds it.
        """
        group = self._workload.sharding.shard_group or 1
        step = group // gcd(group, machine.num_gpus)
        for num_nodes in (1, step, 2 * step):
            if num_nodes <= limit and self._fits(Placement(machine, num_nodes)):
                return num_nodes
        most = limit // step
        if most * step < 2 or not self._fits(Placement(machine, most * step)):
            return None
        return step * (1 + bisect_last(lambda steps: not self._fits(Placement(machine, steps * step)), most))

    def _fits(self, placement: Placement) -> bool:
        key = placement.machine.gpu.name, placement.num_gpus
        if key not in self._known:
            self._known[key] = self._judge(placement)
        return self._known[key]

    def _judge(self, placement: Placement) -> bool:
        try:
            found = fits(placement.of(self._workload), placement.machine.gpu, self._margin)
        except WorkloadError as error:
            self._reason = error
            return False
        self._is_possible = True
        return found
