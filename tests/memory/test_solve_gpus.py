"""The fewest GPUs that fit, found by bisection, are those that trying every number finds."""

from __future__ import annotations

import pytest

from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.closed_form.footprint import fits
from kaitoc.compiler.memory.sharding.model import Sharding, ShardingKind
from kaitoc.compiler.memory.solve_gpus import Machine, Placement, machines, smallest_placement
from kaitoc.compiler.memory.workload import Dtype, Lora, Workload

MARGIN = 0.05


def workload(lora: Lora | None, kind: ShardingKind, seq_len_tokens: int) -> Workload:
    model = find_model("mistral-7b-v0.1")
    assert model is not None
    return Workload(
        architecture=model,
        lora=lora,
        batch_size=1,
        seq_len_tokens=seq_len_tokens,
        stack="trl-chunked",
        autocast=Dtype.BFLOAT16,
        gradient_checkpointing=True,
        sharding=Sharding(kind),
    )


@pytest.mark.parametrize("kind", [ShardingKind.AUTO, ShardingKind.FSDP2])
@pytest.mark.parametrize("lora", [None, Lora()], ids=["full", "lora"])
def test_bisection_finds_what_trying_every_number_finds(lora: Lora | None, kind: ShardingKind) -> None:
    asked = workload(lora, kind, 1024)
    gpu = find_gpu("A10-24GB")
    assert gpu is not None
    machine = Machine(gpu, 1)
    first = 1 if kind is ShardingKind.AUTO else 2
    tried = [number for number in range(first, 25) if fits(Placement(machine, number).of(asked), gpu, MARGIN)]

    found = smallest_placement(asked, [machine], MARGIN)

    assert found is not None
    assert found.num_gpus == tried[0]
    assert tried == [*range(tried[0], 25)]


def test_of_equally_many_gpus_the_smallest_that_fit_are_taken() -> None:
    found = smallest_placement(workload(Lora(), ShardingKind.AUTO, 512), machines(), MARGIN)

    assert found is not None
    assert found.num_gpus == 1
    smaller = [one for one in machines() if one.size < found.machine.size]
    asked = workload(Lora(), ShardingKind.AUTO, 512)
    assert smaller
    assert not any(fits(Placement(one, 1).of(asked), one.gpu, MARGIN) for one in smaller if one.num_gpus == 1)


@pytest.mark.parametrize(("group", "machine_gpus"), [(2, 1), (4, 1), (4, 2), (3, 2)])
def test_only_machines_whose_gpus_form_groups_are_looked_at(group: int, machine_gpus: int) -> None:
    gpu = find_gpu("A10-24GB")
    assert gpu is not None
    asked = workload(Lora(), ShardingKind.FSDP2, 1024)
    asked = replace(asked, sharding=replace(asked.sharding, shard_group=group))
    machine = Machine(gpu, machine_gpus)
    formed = [number for number in range(1, 13) if machine_gpus * number % group == 0]
    tried = [number for number in formed if fits(Placement(machine, number).of(asked), gpu, MARGIN)]

    found = smallest_placement(asked, [machine], MARGIN)

    assert found is not None
    assert found.num_nodes == tried[0]
