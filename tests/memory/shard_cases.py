"""Random steps on shards of a model, and two laws of them: more GPUs, or larger groups, never need more on each."""

from __future__ import annotations

import random
from collections.abc import Iterator

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.models import all_models
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.closed_form.footprint import phase_peaks
from kaitoc.compiler.memory.closed_form.optimizer import MIN_8BIT_ELEMENTS, MIN_PAGED_ELEMENTS
from kaitoc.compiler.memory.closed_form.sharding.state import shard_state, trained_shards
from kaitoc.compiler.memory.closed_form.sharding.units import Unit, units_of
from kaitoc.compiler.memory.closed_form.validation import can_run
from kaitoc.compiler.memory.sharding.model import Offload, Sharding, ShardingKind, Wrap
from kaitoc.compiler.memory.workload import Attention, Dtype, Lora, Loss, Optimizer, Quantization, Workload

GPU = find_gpu("H200-141GB")
KINDS = tuple(kind for kind in ShardingKind if Sharding(kind).is_sharded)
LOSSES = {
    "transformers-5": Loss.FULL,
    "trl-chunked": Loss.FUSED,
    "trl-1.12": Loss.CHUNKED,
    "transformers-4.45": Loss.FULL,
}
STATE = (
    "weights_bytes",
    "adapter_bytes",
    "gradient_bytes",
    "held_gradient_bytes",
    "optimizer_bytes",
    "optimizer_step_bytes",
)
_MOST_STATE_BYTES = 24
"""Per element and process: weights, gradient, two moments and the scratch of a step, in float32."""
_LARGE = {Optimizer.ADAMW_8BIT: MIN_8BIT_ELEMENTS, Optimizer.PAGED_ADAMW_8BIT: MIN_PAGED_ELEMENTS}
"""Elements from which bitsandbytes keeps a tensor's moments in 8 bit, or on pages of the host."""


def random_pairs(seed: int, number: int) -> Iterator[tuple[Workload, Workload]]:
    """Yield steps that differ in how many GPUs hold a copy: few, then more, whether of the job or of a group."""
    draw = random.Random(seed)
    models = all_models()
    while number > 0:
        few = _drawn(draw, draw.choice(models))
        pair = _pair(draw, few)
        if all(map(can_run, pair)):
            number -= 1
            yield pair


def _drawn(draw: random.Random, model: Architecture) -> Workload:
    kind = draw.choice(KINDS)
    method = draw.choice(("lora", "dora", "embeddings", "qlora", "full"))
    is_4bit = method == "qlora"
    stack, loss = draw.choice(tuple(LOSSES.items()))
    saved = ("embed_tokens", "lm_head") if method == "embeddings" else ()
    lora = Lora(rank=draw.choice((1, 8, 16, 64)), dora=method == "dora", modules_to_save=saved)
    num_gpus = draw.choice((2, 4, 8, 64, draw.randint(2, 40)))
    sharding = Sharding(
        kind,
        reshard_after_forward=kind is ShardingKind.ZERO3 or draw.random() < 0.8,
        wrap=draw.choice(tuple(Wrap)) if kind is ShardingKind.FSDP2 else Wrap.ROOT,
        prefetches_backward=draw.random() < 0.5,
        offload=Offload.PARAMETERS if draw.random() < 0.15 else Offload.NONE,
        ram_efficient_loading=draw.random() < 0.5,
        packed_on_host=is_4bit and kind is not ShardingKind.FSDP2 and draw.random() < 0.5,
        sync_each_batch=draw.random() < 0.3,
    )
    return Workload(
        architecture=model,
        lora=None if method == "full" else lora,
        batch_size=draw.choice((1, 1, 2, 4)),
        seq_len_tokens=draw.choice((64, 512, 2048)),
        stack=stack,
        quantization=Quantization.NF4 if is_4bit else Quantization.NONE,
        double_quant=is_4bit and draw.random() < 0.5,
        kbit_prep=is_4bit,
        dtype=draw.choice((Dtype.BFLOAT16, Dtype.BFLOAT16, Dtype.FLOAT32)),
        autocast=draw.choice((Dtype.BFLOAT16, None)),
        gradient_checkpointing=draw.random() < 0.6,
        attention=draw.choice((Attention.SDPA, Attention.SDPA, Attention.EAGER)),
        loss=loss,
        optimizer=draw.choice(tuple(Optimizer)),
        num_gpus=num_gpus,
        is_padded=draw.random() < 0.3,
        accumulates=draw.random() < 0.3,
        sharding=sharding,
    )


def _pair(draw: random.Random, few: Workload) -> tuple[Workload, Workload]:
    """Return a step on few GPUs and on more, in one group or in as many groups; or in smaller groups and in larger."""
    times = draw.choice((2, 3, 4))
    law = draw.choice(("job", "job", "groups", "larger groups"))
    if law == "job" or few.sharding.kind is ShardingKind.ZERO3:
        return few, replace(few, num_gpus=few.num_gpus * times + draw.choice((0, 0, 1, 3)))
    size, sharding = few.num_gpus, few.sharding
    grouped = replace(few, num_gpus=2 * size * times, sharding=replace(sharding, shard_group=size))
    if law == "groups":
        return replace(grouped, num_gpus=2 * size), grouped
    return grouped, replace(grouped, sharding=replace(sharding, shard_group=size * times))


def grown(few: Workload, many: Workload) -> str:
    """Return what a process holds more of, in the larger job or group, than padding explains, empty where nothing."""
    before, after = (max(one.allocated_bytes for one in phase_peaks(workload, GPU)) for workload in (few, many))
    if after > before + padding_bytes(many) + small_state_bytes(many):
        return "allocated"
    return grown_state(few, many)


def grown_state(few: Workload, many: Workload) -> str:
    """Return the part of the state that a process holds more of, empty where none but for padding."""
    allowed = padding_bytes(many) + small_state_bytes(many)
    before, after = shard_state(few), shard_state(many)
    return next((part for part in STATE if getattr(after, part) > getattr(before, part) + allowed), "")


def padding_bytes(workload: Workload) -> int:
    """Bound what rounding up to whole rows adds: to the shard a row of every parameter, to gathered units theirs."""
    units, group = units_of(workload), workload.sharding.group_of(workload.num_gpus)
    rows = sum(one.row_length * one.copies * count for unit, count in units.all_units() for one in unit.parameters)
    gathered = [(_gathered_padding(unit, group), count) for unit, count in units.all_units()]
    largest = 4 * max(padding for padding, _ in gathered)
    kept = 0 if workload.sharding.reshard_after_forward else sum(padding * count for padding, count in gathered)
    return _MOST_STATE_BYTES * rows // group + largest + kept


def _gathered_padding(unit: Unit, group: int) -> int:
    return sum((one.gathered_elements(group) - one.num_elements) * one.gathered_bytes for one in unit.parameters)


def small_state_bytes(workload: Workload) -> int:
    """Return the moments of shards that are too small for 8 bit, or for the host's memory, and were not before."""
    limit = _LARGE.get(workload.optimizer, 0)
    return sum(8 * count * elements for count, elements, _ in trained_shards(workload) if elements < limit)
