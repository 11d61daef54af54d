"""One stream of operations, and the readers that go over it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.closed_form import model
from kaitoc.compiler.memory.closed_form.autograd import Autograd
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.closed_form.graph import Buffer
from kaitoc.compiler.memory.closed_form.kernel import Direction, Group, Kernel, Unit
from kaitoc.compiler.memory.closed_form.model import stream_of
from kaitoc.compiler.memory.closed_form.op import Accumulate, Instruction, Op, Repeat, Scratch
from kaitoc.compiler.memory.closed_form.ops import Ops
from kaitoc.compiler.memory.closed_form.peak import PeakReader, peak_moments
from kaitoc.compiler.memory.closed_form.script import TOUCH
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, ZERO, Size, fixed
from kaitoc.compiler.memory.closed_form.step_script import script_of
from kaitoc.compiler.memory.closed_form.tensor import Tensor
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.throughput.speed import throughput
from kaitoc.compiler.memory.throughput.work import WorkReader
from kaitoc.compiler.memory.workload import Attention, Dtype, Lora, Quantization, Workload
from kaitoc.compiler.memory.workload_key import key_of_step


def _model(name: str) -> Architecture:
    found = find_model(name)
    assert found is not None
    return found


LLAMA = Workload(
    architecture=_model("llama-3.2-1b"),
    lora=Lora(rank=16, targets=("q_proj", "v_proj")),
    batch_size=2,
    seq_len_tokens=512,
    stack="transformers-5",
)
sizes = st.builds(Size, *[st.integers(-(1 << 40), 1 << 40)] * 4)
workloads = st.builds(
    replace,
    st.just(LLAMA),
    architecture=st.sampled_from([_model(name) for name in ("llama-3.2-1b", "phi-3-mini-4k-instruct", "gemma-2-2b")]),
    lora=st.sampled_from([None, Lora(rank=8), Lora(rank=8, dropout=0.1, dora=True)]),
    quantization=st.sampled_from([Quantization.NONE, Quantization.NF4]),
    attention=st.sampled_from([Attention.SDPA, Attention.EAGER]),
    autocast=st.sampled_from([None, Dtype.BFLOAT16]),
).filter(lambda workload: workload.lora is not None or workload.quantization is Quantization.NONE)


@given(sizes, sizes, sizes, st.integers(-64, 64), st.integers(1, 64), st.integers(1, 4096))
def test_sizes_add_and_multiply_as_the_bytes_they_stand_for(
    first: Size, second: Size, third: Size, factor: int, batch_size: int, tokens: int
) -> None:
    def at(size: Size) -> int:
        return size.at(batch_size, tokens)

    assert at(first + second) == at(first) + at(second)
    assert at(first - second) == at(first) - at(second)
    assert at(first * factor) == at(factor * first) == factor * at(first)
    assert first + second == second + first
    assert (first + second) + third == first + (second + third)
    assert (first + second) * factor == first * factor + second * factor
    assert first + ZERO == first - ZERO == first
    assert first + second - second == first


def test_every_reader_goes_over_one_derivation() -> None:
    workload = replace(LLAMA, lora=Lora(rank=23))
    gpu = find_gpu("A100-80GB")
    assert gpu is not None
    before = model._derive.cache_info().misses
    footprint(workload, gpu)
    throughput(workload, gpu)
    assert model._derive.cache_info().misses == before + 1


def test_an_operation_cannot_be_changed_once_it_is_written() -> None:
    operation = next(item for item, _ in _operations(stream_of(LLAMA).instructions) if isinstance(item, Op))
    with pytest.raises(FrozenInstanceError):
        operation.parameter_gradients = 1  # type: ignore[misc]  # what is refused


PLANTED_BEFORE = ["multiply", "rotary", "sdpa", "softmax", "eager_scores", "weighted_sum"]


@pytest.mark.parametrize("method", PLANTED_BEFORE)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_one_more_copy_adds_its_own_work_and_moves_nobody_elses(
    method: str, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention = Attention.EAGER if method in ("softmax", "eager_scores", "weighted_sum") else Attention.SDPA
    workload = replace(LLAMA, attention=attention, kbit_prep=True, gradient_checkpointing=checkpointing)
    plain = _kernels(workload)
    original = getattr(Ops, method)

    def planted(self: Ops, first: Tensor, *rest: object, **options: object) -> Tensor:
        copied = self.copy(first)
        output: Tensor = original(self, copied, *rest, **options)
        self.stream.drop(copied)
        return output

    monkeypatch.setattr(Ops, method, planted)
    more = _kernels(workload)
    assert not plain - more, "a copy took the work of another operation"
    added = more - plain
    assert added
    assert all(kernel.unit is Unit.NONE and kernel.flops == ZERO for kernel in added)
    assert {kernel.group for kernel in added} <= {Group.ELEMENTWISE, Group.ATTENTION}


@settings(max_examples=25, deadline=None)
@given(workloads)
def test_the_work_of_all_groups_is_that_of_all_operations(workload: Workload) -> None:
    stream = stream_of(workload)
    reader = WorkReader()
    reader.step(stream)
    launches, flops = 0, ZERO
    for operation, count in _operations(stream.instructions):
        launches += operation.forward.num_launches * count
        flops += _flops(operation.forward.kernels) * count
        if isinstance(operation, (Op, Accumulate)) and getattr(operation, "has_backward", True):
            flops += _flops(operation.backward.kernels) * count
    assert reader.num_launches[Direction.FORWARD] == launches
    by_group = [_flops([kernel], count) for kernel, count in reader.kernels.items()]
    assert sum(by_group, ZERO) == flops


@settings(max_examples=10, deadline=None)
@given(workloads.filter(lambda workload: workload.lora is not None and not workload.lora.dora))
def test_the_first_and_the_last_of_equal_layers_show_the_peak_of_all(workload: Workload) -> None:
    workload = replace(workload, autocast=None)
    stream = stream_of(workload)
    every = _EveryLayer()
    loss = every.forward(stream)
    every.phase = Phase.BACKWARD
    every.seed(loss, fixed(FLOAT32_BYTES))
    every.backward()
    every.finish()
    for phase, moments in peak_moments(stream).items():
        for tokens in (16, 4096):
            peak = max(moment.total.at(1, tokens) for moment in moments)
            assert peak == max(moment.total.at(1, tokens) for moment in every.moments[phase])


class _EveryLayer(PeakReader):
    """Reads every one of equal layers."""

    def _repeat(self, instruction: Repeat) -> None:
        Autograd._repeat(self, instruction)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.sampled_from([64, 1000, 4096]), st.booleans(), st.booleans())
def test_a_script_takes_of_the_allocator_what_its_requests_take_one_by_one(
    batch_size: int, tokens: int, expandable: bool, spares_growing_end: bool
) -> None:
    chosen = AllocatorSettings(expandable_segments=expandable, spares_growing_end=spares_growing_end)
    script = script_of(key_of_step(LLAMA))
    replayed, slow = CachingAllocator(chosen), CachingAllocator(chosen)
    left = script.replay(replayed, batch_size, tokens)
    blocks = []
    for operation in script.operations:
        if operation < 0:
            slow.free(blocks[~operation])
        elif operation < TOUCH:
            blocks.append(slow.allocate(script.sizes[operation].at(batch_size, tokens)))
        else:
            slow.free(slow.allocate(script.sizes[operation - TOUCH].at(batch_size, tokens)))
    assert [block.size for block in left] == [blocks[number].size for number in script.left]
    for counter in ("allocated_bytes", "reserved_bytes", "peak_allocated_bytes", "peak_reserved_bytes"):
        assert getattr(replayed, counter) == getattr(slow, counter)


def test_a_buffer_lives_until_the_last_who_holds_it_lets_go() -> None:
    reader = _Freed()
    stream = stream_of(LLAMA)
    reader.seed(reader.forward(stream), fixed(FLOAT32_BYTES))
    reader.backward()
    assert all(buffer.holders >= 0 for buffer in reader.allocated)
    assert len(reader.freed) == len(set(reader.freed))


class _Freed(Autograd):
    def __init__(self) -> None:
        super().__init__()
        self.allocated: list[Buffer] = []
        self.freed: list[Buffer] = []

    def _allocate(self, buffer: Buffer) -> None:
        self.allocated.append(buffer)

    def _free(self, buffer: Buffer) -> None:
        self.freed.append(buffer)


def _kernels(workload: Workload) -> Counter[Kernel]:
    """Return the work of a workload, derived anew."""
    model._derive.cache_clear()
    reader = WorkReader()
    reader.step(stream_of(workload))
    model._derive.cache_clear()
    return Counter(reader.kernels)


def _operations(instructions: Sequence[Instruction], count: int = 1) -> Iterator[tuple[Op | Scratch | Accumulate, int]]:
    """Yield whatever launches kernels, with how often it runs in a forward pass."""
    for instruction in instructions:
        if isinstance(instruction, Repeat):
            yield from _operations(instruction.first.instructions, count * instruction.count)
        elif isinstance(instruction, Accumulate):
            yield from _operations(instruction.body.instructions, count * instruction.count)
            yield instruction, count * instruction.count
        elif isinstance(instruction, (Op, Scratch)):
            yield instruction, count


def _flops(kernels: Sequence[Kernel], count: int = 1) -> Size:
    return sum((kernel.flops * count for kernel in kernels), ZERO)
