"""NCCL's buffers on a process, against what was measured of them (https://github.com/NVIDIA/nccl/issues/964)."""

from __future__ import annotations

from dataclasses import replace

from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.core.units import MIB
from kaitoc.compiler.memory.nccl import CONNECTION_BYTES, MAX_CHANNELS, buffer_bytes
from kaitoc.compiler.memory.sharding.model import Sharding, ShardingKind
from kaitoc.compiler.memory.workload import Lora, Workload

MODEL, A100, L4 = find_model("llama-3.2-1b"), find_gpu("A100-80GB"), find_gpu("L4-24GB")
assert MODEL is not None
TWO = Workload(MODEL, Lora(), 1, 1024, "transformers-4.45", num_gpus=2, sharding=Sharding(ShardingKind.FSDP1))
RECENT = replace(TWO, stack="transformers-5")


def test_two_gpus_take_what_was_measured_and_four_between_an_end_of_the_chain_and_its_middle() -> None:
    assert buffer_bytes(TWO, A100) == 544 * MIB
    assert 688 * MIB <= buffer_bytes(replace(TWO, num_gpus=4), A100) == (544 + 288) * MIB


def test_recent_versions_leave_the_proxys_buffers_until_a_network_is_used() -> None:
    assert buffer_bytes(RECENT, A100) == buffer_bytes(TWO, A100) - 256 * MIB


def test_the_proxys_chunks_are_smaller_where_not_all_is_nvlink() -> None:
    apart = replace(TWO, sharding=replace(TWO.sharding, num_nodes=2))

    assert buffer_bytes(TWO, L4) == (4 * 12 + 4 * 16 // 8) * MIB
    assert buffer_bytes(apart, A100) == buffer_bytes(TWO, A100) - 192 * MIB


def test_groups_that_share_a_copy_bring_two_more_communicators() -> None:
    eight = replace(RECENT, num_gpus=8)
    grouped = replace(eight, sharding=replace(eight.sharding, shard_group=4))

    of_a_group, of_two_replicas = replace(RECENT, num_gpus=4), RECENT
    together = (buffer_bytes(one, A100) for one in (eight, of_a_group, of_two_replicas))
    assert buffer_bytes(grouped, A100) == sum(together)


def test_all_channels_take_a_third_more_of_connections() -> None:
    assert buffer_bytes(RECENT, A100, MAX_CHANNELS) == MAX_CHANNELS * CONNECTION_BYTES
