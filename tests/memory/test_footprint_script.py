"""The script of a step, of which four layers were run, is the one of running them all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.closed_form import step_script
from kaitoc.compiler.memory.closed_form.footprint import phase_peaks
from kaitoc.compiler.memory.closed_form.graph import Buffer
from kaitoc.compiler.memory.closed_form.model import stream_of
from kaitoc.compiler.memory.closed_form.script import TOUCH, Script, ScriptReader
from kaitoc.compiler.memory.closed_form.size import Size
from kaitoc.compiler.memory.closed_form.stream import StreamBuilder
from kaitoc.compiler.memory.closed_form.unroll import unroll
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.sharing import SharingRequest, sharding_for
from kaitoc.compiler.memory.stacks import find_stack
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


SANTACODER = Workload(
    architecture=find_model("santacoder"),
    lora=None,
    batch_size=8,
    seq_len_tokens=2048,
    stack="transformers-4.45",
    attention=Attention.FLASH,
    gradient_checkpointing=True,
)
"""A checkpointed model that fills its cache all the same, with views of the projection of each of its 24 layers."""


def test_four_layers_tell_of_all_caches() -> None:
    assert operations(script_of(SANTACODER, runs_all_layers=False)) == operations(
        script_of(SANTACODER, runs_all_layers=True)
    )


def test_the_projection_behind_a_layers_cache_stays_where_the_layer_left_it() -> None:
    script = script_of(SANTACODER, runs_all_layers=False)
    assert script is not None
    sizes, projection_bytes = script.num_bytes(8, 2048), 8 * 2048 * (2048 + 2 * 128) * 2
    blocks: list[int] = []
    for operation in script.operations:
        if operation < 0 and blocks[~operation] == projection_bytes:
            break
        if 0 <= operation < TOUCH:
            blocks.append(sizes[operation])
    assert blocks.count(projection_bytes) == 24


@pytest.mark.parametrize("num_gpus", [1, 2])
def test_every_layer_adds_its_checkpoint_and_its_cached_projection_to_the_loss(num_gpus: int) -> None:
    shared = replace(sharding_for(SharingRequest("fsdp1"), find_stack("transformers-4.45")), prefetches_backward=True)
    asked = SANTACODER if num_gpus == 1 else replace(SANTACODER, num_gpus=num_gpus, sharding=shared)
    deep, shallow = (replace(asked, architecture=_of_depth(depth)) for depth in (12, 3))
    assert _beyond_state(deep) - _beyond_state(shallow) == 9 * 8 * 2048 * 2 * (2304 + 2048)


def _of_depth(depth: int) -> Architecture:
    architecture = SANTACODER.architecture
    return from_config("cut", {**architecture.config, "model_type": architecture.model_type, "n_layer": depth})


def _beyond_state(workload: Workload) -> int:
    """Return what activations and logits take in the peak of the loss, in bytes."""
    (loss,) = (phase for phase in phase_peaks(workload) if phase.phase is Phase.LOSS)
    return loss.categories.activations + loss.categories.logits


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


@pytest.mark.parametrize("num_layers", [3, 6])
def test_outputs_that_a_loop_holds_end_after_the_forward_pass(num_layers: int) -> None:
    """So it is too where every layer was run, as of a few layers or of ones that differ."""
    model = find_model("qwen2.5-0.5b")
    assert model is not None
    config = {**model.config, "model_type": model.model_type, "num_hidden_layers": num_layers}
    step = replace(ONE_TOKEN, architecture=from_config("shallow", config), holds_outputs=True)
    script = step_script.script_of(step)

    assert len(script.outputs) > 1
    assert 0.3 < script.num_forward / len(script.operations) < 0.7
