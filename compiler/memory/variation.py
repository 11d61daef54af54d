"""What memory a run takes when its batches differ in length, which the peak of its longest batch does not tell.

Blocks of one length leave gaps that another does not fit, so PyTorch's allocator reserves more than any batch needs.
Expandable segments move what is unused to where it is needed; a cache that is emptied after every step, as Kaito's
tuning image does, carries nothing on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory import device
from kaitoc.compiler.memory.batch_shape import BatchShape
from kaitoc.compiler.memory.batches import NUM_BATCHES, Batching, Lengths, Loading, batches
from kaitoc.compiler.memory.closed_form.replay import Replayed, replay_batches
from kaitoc.compiler.memory.estimate import has_closed_form
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.sharding.model import Sharding
from kaitoc.compiler.memory.workload import Allocator, Reference, Workload

NUM_RUNS = 3
"""Orders of the data that are replayed; the interval is what they differ by."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a trainer draws batches from rows of these lengths."""

    lengths: Lengths
    loading: Loading = Loading()
    num_batches: int = NUM_BATCHES


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way of drawing or allocating the batches, and the most that is reserved then."""

    words: str
    reserved_bytes: int


@dataclass(frozen=True, slots=True)
class Variation:
    """What batches of different lengths take, in bytes; intervals are over orders of the data.

    `reserved_high_bytes` is without a limit. `fits` is whether a GPU holds it once PyTorch gives unused segments back,
    which it had to do `num_retries` times; both are None where no GPU is known.
    """

    drawing: Drawing
    batch_size: int
    num_tokens: int
    allocated_low_bytes: int
    allocated_high_bytes: int
    reserved_low_bytes: int
    reserved_high_bytes: int
    context_bytes: int
    fits: bool | None
    num_retries: int | None
    alternatives: tuple[Alternative, ...]

    @property
    def device_high_bytes(self) -> int:
        """Bound what nvidia-smi shows, as if the GPU had room for it."""
        return self.reserved_high_bytes + self.context_bytes


def verdict_with(of_longest: Verdict, varied: Variation | None) -> Verdict:
    """Return whether a run fits by the verdict on its longest batch, and by the replay of others where there is one.

    Where lengths vary it also does not fit when no memory that PyTorch gives back makes room, and barely fits when it
    has to give back any.
    """
    if varied is None or of_longest is Verdict.DOES_NOT_FIT:
        return of_longest
    if varied.fits is False:
        return Verdict.DOES_NOT_FIT
    return Verdict.TIGHT if varied.num_retries else of_longest


def can_vary(workload: Workload, sharding: Sharding) -> bool:
    """Return whether batches of a workload are replayed: of supervised runs on whole copies with a closed form."""
    return not unreplayed(workload, sharding)


def unreplayed(workload: Workload, sharding: Sharding) -> str:
    """Name the kind of run that keeps batches of a workload from being replayed, empty where they are."""
    if sharding.is_sharded:
        return "sharded runs"
    if workload.reference is not Reference.NONE:
        return "preference (dpo) runs"
    return "" if has_closed_form(workload.architecture) else f"{workload.architecture.name}, which has no closed form"


@lru_cache(maxsize=64)
def variation(asked: Workload, gpu: Gpu | None, drawing: Drawing) -> Variation:
    """Replay a run of varying batches on each GPU with a full copy of the model.

    It takes seconds, and many manifests describe the same run.
    """
    workload = device.as_run_on(asked, gpu)
    context_bytes = device.context_bytes(gpu) + device.nccl_bytes(workload, gpu)
    capacity_bytes = gpu.memory_bytes - context_bytes if gpu is not None else None
    orders = [_shapes(workload, drawing, seed) for seed in range(NUM_RUNS)]
    runs = [_replay(workload, shapes, gpu, drawing) for shapes in orders]
    limited = [
        run if capacity_bytes is None or run.reserved_bytes <= capacity_bytes
        else _replay(workload, shapes, gpu, drawing, capacity_bytes)
        for shapes, run in zip(orders, runs, strict=True)
    ]  # fmt: skip
    return Variation(
        drawing=drawing,
        batch_size=workload.batch_size,
        num_tokens=max(shape.num_tokens for shape in orders[0]),
        allocated_low_bytes=min(run.allocated_bytes for run in runs),
        allocated_high_bytes=max(run.allocated_bytes for run in runs),
        reserved_low_bytes=min(run.reserved_bytes for run in runs),
        reserved_high_bytes=max(run.reserved_bytes for run in runs),
        context_bytes=context_bytes,
        fits=None if gpu is None else all(run.fits for run in limited),
        num_retries=None if gpu is None else max(run.num_retries for run in limited),
        alternatives=tuple(_alternatives(workload, gpu, drawing)),
    )


def replay_order(asked: Workload, gpu: Gpu | None, drawing: Drawing, seed: int, capacity_bytes: int) -> Replayed:
    """Replay one order of the data through PyTorch's allocator with this capacity."""
    workload = device.as_run_on(asked, gpu)
    return _replay(workload, _shapes(workload, drawing, seed), gpu, drawing, capacity_bytes)


def _alternatives(workload: Workload, gpu: Gpu | None, drawing: Drawing) -> Iterator[Alternative]:
    """Yield what each change alone would reserve, for the first order of the data."""
    if workload.allocator is Allocator.DEFAULT:
        expandable = replace(workload, allocator=Allocator.EXPANDABLE)
        yield Alternative("expandable segments", _reserved_bytes(expandable, gpu, drawing))
    loading = drawing.loading
    if loading.batching is Batching.PACKED:
        return
    if loading.batching is Batching.RANDOM and workload.batch_size > 1:
        grouped = replace(drawing, loading=replace(loading, batching=Batching.GROUPED))
        yield Alternative("batches of similar length (group_by_length)", _reserved_bytes(workload, gpu, grouped))
    packed = replace(drawing, loading=replace(loading, batching=Batching.PACKED))
    yield Alternative(
        f"rows packed up to {drawing.lengths.cap_tokens:,} tokens", _reserved_bytes(workload, gpu, packed)
    )


def _reserved_bytes(workload: Workload, gpu: Gpu | None, drawing: Drawing) -> int:
    return _replay(workload, _shapes(workload, drawing, 0), gpu, drawing).reserved_bytes


def _shapes(workload: Workload, drawing: Drawing, seed: int) -> list[BatchShape]:
    return batches(drawing.lengths, drawing.loading, workload.batch_size, seed, drawing.num_batches)


def _replay(
    workload: Workload,
    shapes: Sequence[BatchShape],
    gpu: Gpu | None,
    drawing: Drawing,
    capacity_bytes: int | None = None,
) -> Replayed:
    """Replay batches; rows that are packed or alone in a batch need no mask."""
    is_padded = workload.is_padded and drawing.loading.batching is not Batching.PACKED
    return replay_batches(
        replace(workload, is_padded=is_padded),
        shapes,
        gpu,
        accumulation_steps=drawing.loading.accumulation_steps,
        capacity_bytes=capacity_bytes,
    )
