"""The script of a step, of which four layers were run, is the one of running them all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.closed_form.graph import Buffer
from kaitoc.compiler.memory.closed_form.model import stream_of
from kaitoc.compiler.memory.closed_form.script import TOUCH, Script, ScriptReader
from kaitoc.compiler.memory.closed_form.size import Size
from kaitoc.compiler.memory.closed_form.stream import StreamBuilder
from kaitoc.compiler.memory.closed_form.unroll import unroll
from kaitoc.compiler.memory.workload import Attention, Dtype, Lora, Quantization, Workload

MODELS = ("phi-3-mini-128k-instruct", "falcon-7b-instruct", "gemma-3-4b-instruct", "mistral-7b-instruct", "gpt2")
ONE_TOKEN = Workload(
    architecture=find_model("phi-3-mini-128k-instruct"),
    lora=Lora(rank=8, alpha=8.0, dropout=0.05, targets=("all-linear",)),
    batch_size=1,
    seq_len_tokens=1,
    stack="kaito-v0.12",
    dtype=Dtype.BFLOAT16,
)


def script_of(workload: Workload, *, runs_all_layers: bool) -> Script | None:
    reader = ScriptReader(runs_all_layers=runs_all_layers)
    reader.step(stream_of(workload))
    return unroll(reader.events, reader.runs)


def operations(script: Script | None) -> list[int | Size | tuple[Size]]:
    assert script is not None
    sizes = script.sizes
    return [code if code < 0 else sizes[code] if code < TOUCH else (sizes[code - TOUCH],) for code in script.operations]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("quantization", [Quantization.NONE, Quantization.NF4])
def test_four_layers_tell_of_all(model: str, checkpointing: bool, quantization: Quantization) -> None:
    workload = replace(
        ONE_TOKEN,
        architecture=find_model(model),
        gradient_checkpointing=checkpointing,
        quantization=quantization,
        kbit_prep=quantization is not Quantization.NONE,
    )
    few, every = script_of(workload, runs_all_layers=False), script_of(workload, runs_all_layers=True)
    assert operations(few) == operations(every)
    assert few is not None
    assert every is not None
    assert few.left == every.left


def test_four_layers_tell_of_full_fine_tuning() -> None:
    workload = replace(ONE_TOKEN, lora=None, attention=Attention.EAGER)
    assert operations(script_of(workload, runs_all_layers=False)) == operations(
        script_of(workload, runs_all_layers=True)
    )


def test_a_layer_that_differs_from_its_neighbour_is_not_taken_for_it() -> None:
    builder = StreamBuilder()
    source = builder.new(Size(1024), 1, True)
    result = builder.repeat(lambda given: builder.apply([given], Size(1024), 1), source, 9, 0)
    reader = _Growing()
    reader.step(builder.stream(result))
    assert unroll(reader.events, reader.runs) is None


class _Growing(ScriptReader):
    """Allocates more in the third of the layers that it reads than in the others."""

    num_allocated = 0

    def _allocate(self, buffer: Buffer) -> None:
        self.num_allocated += 1
        if self.num_allocated == 4:
            buffer.size = Size(2048)
        super()._allocate(buffer)


@given(st.integers(1, 8), st.integers(1, 4096))
def test_a_replay_frees_all_but_what_is_left(batch_size: int, seq_len_tokens: int) -> None:
    script = script_of(ONE_TOKEN, runs_all_layers=False)
    assert script is not None
    allocator = CachingAllocator(AllocatorSettings(expandable_segments=True))
    left = script.replay(allocator, batch_size, seq_len_tokens)
    assert allocator.allocated_bytes == sum(block.size for block in left)
    for block in left:
        allocator.free(block)
    assert allocator.allocated_bytes == 0
