"""What several GPUs send each other in a step, how long that takes, and what of it hides beside the computation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType, all_instance_types, find_gpu, find_instance_type
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.kernel import Group
from kaitoc.compiler.memory.closed_form.sharding.collective import CollectiveKind, Cover
from kaitoc.compiler.memory.closed_form.sharding.collectives import BUCKET_BYTES, FIRST_BUCKET_BYTES, collectives_of
from kaitoc.compiler.memory.closed_form.sharding.units import units_of
from kaitoc.compiler.memory.sharding.model import WHOLE_COPIES, Offload, Sharding, ShardingKind, Wrap
from kaitoc.compiler.memory.throughput.exchange import waiting_share
from kaitoc.compiler.memory.throughput.links import links_of
from kaitoc.compiler.memory.throughput.speed import throughput
from kaitoc.compiler.memory.workload import Dtype, Lora, Loss, Quantization, Reference, Workload


def _gpu(name: str) -> Gpu:
    gpu = find_gpu(name)
    assert gpu is not None
    return gpu


def _instance(name: str) -> InstanceType:
    instance = find_instance_type(name)
    assert instance is not None
    return instance


def _base() -> Workload:
    model = find_model("llama-3.2-3b")
    assert model is not None
    lora = Lora(rank=16, targets=("q_proj", "v_proj"))
    return Workload(model, lora, 4, 1024, "transformers-4.48", gradient_checkpointing=True, num_gpus=4)


A100 = _gpu("A100-80GB")
ND_A100, ND_H100 = _instance("Standard_ND96amsr_A100_v4"), _instance("Standard_ND96isr_H100_v5")
NC_A100 = _instance("Standard_NC96ads_A100_v4")
LORA = _base()
FULL = replace(LORA, lora=None)
NUM_LAYERS = LORA.architecture.num_layers


def sharded(workload: Workload, kind: ShardingKind, **changes: object) -> Workload:
    return replace(workload, sharding=replace(Sharding(kind), **changes))


def sent(workload: Workload, kind: CollectiveKind, cover: Cover | None = None) -> int:
    """Return the bytes of all collectives of a kind, put together."""
    return sum(
        one.count * one.collective.num_bytes
        for one in collectives_of(workload)
        if one.collective.kind is kind and cover in (None, one.cover)
    )


def weights_bytes(workload: Workload) -> int:
    num_shards = workload.sharding.group_of(workload.num_gpus)
    return sum(unit.gathered_bytes(num_shards) * count for unit, count in units_of(workload).all_units())


def test_one_gpu_sends_nothing() -> None:
    assert collectives_of(replace(FULL, num_gpus=1)) == ()
    assert throughput(replace(FULL, num_gpus=1), A100).seconds_of(Group.COMMUNICATION) == 0


def test_fsdp2_gathers_layers_twice_and_what_it_keeps_once() -> None:
    workload = sharded(FULL, ShardingKind.FSDP2)
    units = units_of(workload)
    layers = sum(unit.gathered_bytes(4) * count for unit, count in units.layers)

    assert sent(workload, CollectiveKind.GATHER) == weights_bytes(workload) + layers
    assert sent(workload, CollectiveKind.REDUCE_SCATTER) == weights_bytes(workload)


def test_weights_that_stay_gathered_are_sent_once() -> None:
    workload = sharded(FULL, ShardingKind.FSDP2, reshard_after_forward=False)

    assert sent(workload, CollectiveKind.GATHER) == weights_bytes(workload)


def test_fsdp1_gathers_a_layer_again_for_its_second_forward_pass_and_for_its_way_back() -> None:
    reentrant = sharded(replace(FULL, stack="transformers-4.45"), ShardingKind.FSDP1, wrap=Wrap.ROOT)
    plain = replace(reentrant, gradient_checkpointing=False)
    layers = sum(unit.gathered_bytes(4) * count for unit, count in units_of(plain).layers)

    assert sent(reentrant, CollectiveKind.GATHER) - sent(plain, CollectiveKind.GATHER) == layers


def test_fsdp1_gathers_a_layer_behind_the_reduction_of_the_one_before_unless_it_is_gathered_ahead() -> None:
    """A process group has one stream of NCCL, which runs collectives in the order of their issue."""
    plain = sharded(replace(FULL, gradient_checkpointing=False), ShardingKind.FSDP1, wrap=Wrap.ROOT)
    late, ahead = (
        replace(plain, sharding=replace(plain.sharding, prefetches_backward=prefetches)) for prefetches in (False, True)
    )
    one_layer = sent(late, CollectiveKind.GATHER, Cover.BACKWARD)
    behind = [sent(late, kind, Cover.NOTHING) - sent(ahead, kind, Cover.NOTHING) for kind in CollectiveKind]

    assert behind == [one_layer * (NUM_LAYERS - 1), one_layer * (NUM_LAYERS - 1), 0]
    assert sent(late, CollectiveKind.REDUCE_SCATTER, Cover.BACKWARD) == 0


def test_fsdp1_that_keeps_its_layers_gathered_reduces_beside_the_way_back() -> None:
    kept = sharded(FULL, ShardingKind.FSDP1, wrap=Wrap.ROOT, reshard_after_forward=False)

    assert sent(kept, CollectiveKind.REDUCE_SCATTER, Cover.BACKWARD) > 0.8 * sent(kept, CollectiveKind.REDUCE_SCATTER)


def test_fsdp1_gathers_layers_beside_the_way_back_where_only_adapters_are_reduced() -> None:
    lora = sharded(LORA, ShardingKind.FSDP1, wrap=Wrap.ROOT)

    assert sent(lora, CollectiveKind.GATHER, Cover.BACKWARD) > 0.3 * sent(lora, CollectiveKind.GATHER)


def test_fsdp1_gathers_and_reduces_every_adapter_matrix_by_itself() -> None:
    workload = sharded(LORA, ShardingKind.FSDP1, wrap=Wrap.ROOT)
    num_matrices = 2 * len(("q_proj", "v_proj")) * NUM_LAYERS
    reduced = [one for one in collectives_of(workload) if one.collective.kind is CollectiveKind.REDUCE_SCATTER]

    assert sum(one.count for one in reduced) == num_matrices


def test_adapters_on_sharded_weights_cost_the_gathers_of_the_whole_model() -> None:
    full, lora = (sharded(one, ShardingKind.FSDP2) for one in (FULL, LORA))

    assert sent(lora, CollectiveKind.GATHER) > sent(full, CollectiveKind.GATHER)
    assert sent(lora, CollectiveKind.REDUCE_SCATTER) < sent(full, CollectiveKind.REDUCE_SCATTER) / 100


def test_four_bit_weights_are_sent_in_four_bit() -> None:
    half = sharded(LORA, ShardingKind.FSDP2)
    packed = replace(half, quantization=Quantization.NF4, double_quant=True)
    layers = [
        sum(one.count * one.collective.num_bytes for one in collectives_of(workload) if one.cover is Cover.BACKWARD)
        for workload in (half, packed)
    ]

    assert layers[1] < layers[0] / 2


def test_ddp_sends_all_gradients_in_buckets_of_which_the_last_waits() -> None:
    workload = replace(FULL, sharding=WHOLE_COPIES)
    buckets = collectives_of(workload)
    num_bytes = 2 * LORA.architecture.num_parameters

    assert sent(workload, CollectiveKind.ALL_REDUCE) == pytest.approx(num_bytes, rel=1e-3)
    assert {one.collective.num_bytes for one in buckets[:2]} == {FIRST_BUCKET_BYTES, BUCKET_BYTES}
    assert [one.count for one in buckets if one.cover is Cover.NOTHING] == [1]


def test_replicas_of_a_shard_group_add_up_shards() -> None:
    workload = sharded(replace(FULL, num_gpus=8), ShardingKind.FSDP2, shard_group=4)

    assert sent(workload, CollectiveKind.ALL_REDUCE) == pytest.approx(
        sent(workload, CollectiveKind.REDUCE_SCATTER) / 4, rel=1e-3
    )


def test_a_reference_gathers_the_layers_once_more() -> None:
    alone = sharded(LORA, ShardingKind.FSDP2)
    again = sum(unit.gathered_bytes(4) * count for unit, count in units_of(alone).layers)
    preferring = replace(alone, reference=Reference.BASE, loss=Loss.FUSED, batch_size=4)

    assert sent(preferring, CollectiveKind.GATHER) - sent(alone, CollectiveKind.GATHER) == again
    assert sent(preferring, CollectiveKind.REDUCE_SCATTER) == sent(alone, CollectiveKind.REDUCE_SCATTER)


kinds = st.sampled_from([ShardingKind.DDP, ShardingKind.FSDP1, ShardingKind.FSDP2, ShardingKind.ZERO3])


@settings(max_examples=30, deadline=None)
@given(
    kind=kinds,
    base=st.sampled_from([LORA, FULL]),
    num_gpus=st.sampled_from([2, 4, 8]),
    batch=st.integers(1, 8),
    steps=st.integers(1, 4),
    autocast=st.sampled_from([None, Dtype.BFLOAT16]),
)
def test_an_answer_lies_in_its_interval_and_gpus_never_add_more_than_their_number(
    kind: ShardingKind, base: Workload, num_gpus: int, batch: int, steps: int, autocast: Dtype | None
) -> None:
    workload = sharded(replace(base, num_gpus=num_gpus, batch_size=batch, autocast=autocast), kind)
    found = throughput(workload, A100, accumulation_steps=steps, instance=ND_A100)
    slow_network = replace(ND_A100, network_bytes_per_second=1e9)
    two_nodes = replace(workload, sharding=replace(workload.sharding, num_nodes=2))
    spread = throughput(two_nodes, A100, accumulation_steps=steps, instance=slow_network)

    assert found.low_tokens_per_second <= found.tokens_per_second <= found.high_tokens_per_second
    assert spread.tokens_per_second <= found.tokens_per_second
    assert sum(cost.seconds for cost in found.breakdown) == pytest.approx(found.step_seconds)


def test_a_long_step_hides_gathers_that_a_short_one_waits_for() -> None:
    over_pcie = _gpu("A10")
    short = throughput(sharded(replace(LORA, batch_size=1, seq_len_tokens=64), ShardingKind.FSDP2), over_pcie)
    long = throughput(sharded(replace(LORA, batch_size=8, seq_len_tokens=4096), ShardingKind.FSDP2), over_pcie)

    assert short.seconds_of(Group.COMMUNICATION) > 0.5 * short.step_seconds
    assert long.seconds_of(Group.COMMUNICATION) < 0.1 * long.step_seconds


def test_gradients_of_an_accumulation_are_reduced_once_unless_each_batch_is() -> None:
    once = sharded(FULL, ShardingKind.FSDP2)
    each = sharded(FULL, ShardingKind.FSDP2, sync_each_batch=True)
    one, four, synced = (throughput(w, A100, accumulation_steps=n) for w, n in ((once, 1), (once, 4), (each, 4)))

    assert synced.seconds_of(Group.COMMUNICATION) == pytest.approx(4 * one.seconds_of(Group.COMMUNICATION))
    assert four.seconds_of(Group.COMMUNICATION) < synced.seconds_of(Group.COMMUNICATION)


def test_the_optimizer_steps_over_a_shard() -> None:
    alone, shared = throughput(replace(FULL, num_gpus=1), A100), throughput(sharded(FULL, ShardingKind.FSDP2), A100)

    assert shared.seconds_of(Group.OPTIMIZER) == pytest.approx(alone.seconds_of(Group.OPTIMIZER) / 4, rel=0.01)


def test_a_larger_crowd_waits_longer_for_its_slowest() -> None:
    shares = [waiting_share(number) for number in (2, 4, 8, 64)]

    assert shares == sorted(shares)
    assert 0.005 < shares[0] < shares[-1] < 0.05


def test_what_is_known_of_a_machine_needs_no_assumption() -> None:
    two_nodes = sharded(replace(FULL, num_gpus=16), ShardingKind.FSDP2, num_nodes=2)

    assert links_of(two_nodes, ND_H100.gpu or A100, ND_H100).assumptions == ()


def test_unknown_links_are_named_and_widen_the_answer() -> None:
    on_one = sharded(FULL, ShardingKind.FSDP2)
    known, unknown = (throughput(on_one, A100, instance=one) for one in (ND_A100, NC_A100))
    on_two = throughput(sharded(replace(FULL, num_gpus=8), ShardingKind.FSDP2, num_nodes=2), A100, instance=NC_A100)

    assert unknown.assumptions == ("PCIe is assumed between the GPUs of Standard_NC96ads_A100_v4",)
    assert on_two.assumptions[1] == "a network of 40 Gbit/s is assumed between machines"
    assert unknown.low_tokens_per_second < unknown.tokens_per_second < known.tokens_per_second
    assert unknown.high_tokens_per_second == pytest.approx(known.high_tokens_per_second)


def test_gpus_known_by_name_alone_may_be_cards_without_a_switch() -> None:
    assert throughput(sharded(FULL, ShardingKind.FSDP2), A100).assumptions == ("NVLink is assumed between the GPUs",)
    assert throughput(sharded(FULL, ShardingKind.FSDP2), _gpu("L40S")).assumptions == ()


def test_what_is_offloaded_is_said_not_to_be_counted() -> None:
    parameters = throughput(sharded(FULL, ShardingKind.FSDP2, offload=Offload.PARAMETERS), A100, instance=ND_A100)
    offloading = replace(LORA, num_gpus=1, stack="trl-chunked", offloads_activations=True)

    assert parameters.assumptions == ("parameters offloaded: copies to the host and back are not counted",)
    assert throughput(offloading, A100).assumptions == (
        "activations offloaded: copies to the host and back are not counted",
    )


def test_every_instance_type_with_linked_gpus_says_so_or_says_nothing() -> None:
    for instance in all_instance_types():
        if instance.joins_gpus_by_nvlink:
            assert instance.gpu is not None
            assert instance.gpu.nvlink
        if instance.network_bytes_per_second is not None:
            assert instance.network_bytes_per_second >= 1e9
