"""The two engines agree: the closed form and the real code on meta tensors give the same allocated peak."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from samples import covering, sample

pytest.importorskip("torch")

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.trace.run import trace
from kaitoc.compiler.memory.workload import Attention, Dtype, Kernels, Lora, Loss, Quantization, Workload

pytestmark = [pytest.mark.runtime, pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.no_cover]
TOLERANCE = 0.02


def workload(name: str, method: str, *, checkpointing: bool, batch_size: int, seq_len_tokens: int) -> Workload:
    model = find_model(name)
    assert model is not None
    quantized = method == "qlora"
    return Workload(
        architecture=model,
        lora=None if method == "full" else Lora(),
        batch_size=batch_size,
        seq_len_tokens=seq_len_tokens,
        stack="transformers-5",
        quantization=Quantization.NF4 if quantized else Quantization.NONE,
        kbit_prep=quantized,
        gradient_checkpointing=checkpointing,
    )


def _shallow(model: Architecture) -> Architecture:
    """Return a model with two layers: what a layer does is the same in all of them."""
    return from_config("shallow", {**model.config, "model_type": model.model_type, "num_hidden_layers": 2})


NAMES, METHODS, CHECKPOINTING = ("qwen2.5-0.5b", "phi-3-mini-4k-instruct"), ("lora", "qlora", "full"), (True, False)


def assert_agreement(asked: Workload) -> None:
    traced, predicted = trace(asked), footprint(asked)

    traced_bytes = max(phase.allocated_bytes for phase in traced.phases)
    assert predicted.allocated_bytes == pytest.approx(traced_bytes, rel=TOLERANCE)


@pytest.mark.parametrize(("name", "method", "checkpointing"), sample(product(NAMES, METHODS, CHECKPOINTING), 6))
def test_the_closed_form_agrees_with_the_trace(name: str, method: str, checkpointing: bool) -> None:
    asked = workload(name, method, checkpointing=checkpointing, batch_size=2, seq_len_tokens=512)
    assert_agreement(replace(asked, architecture=_shallow(asked.architecture)))


@pytest.mark.parametrize(("name", "method", "checkpointing"), sample(product(NAMES, METHODS, CHECKPOINTING), 1, seed=3))
def test_they_agree_on_all_layers_of_a_model(name: str, method: str, checkpointing: bool) -> None:
    assert_agreement(workload(name, method, checkpointing=checkpointing, batch_size=2, seq_len_tokens=512))


CHOICES = {
    "chunked loss": {"loss": Loss.CHUNKED},
    "chunked loss under autocast": {"loss": Loss.CHUNKED, "autocast": Dtype.BFLOAT16},
    "fused loss under autocast": {"loss": Loss.FUSED, "autocast": Dtype.BFLOAT16},
    "full loss under autocast": {"autocast": Dtype.BFLOAT16},
    "flash attention under autocast": {"attention": Attention.FLASH, "autocast": Dtype.BFLOAT16},
    "flash attention": {"attention": Attention.FLASH},
    "padded batch": {"is_padded": True},
    "float16 before Ampere": {"kernels": Kernels.BEFORE_AMPERE, "dtype": Dtype.FLOAT16},
    "bfloat16 before Ampere": {"kernels": Kernels.BEFORE_AMPERE},
    "accumulation": {"accumulates": True},
}


@pytest.mark.parametrize(("method", "choice"), covering(["lora", "qlora"], list(CHOICES)))
def test_they_agree_on_what_changes_a_kernel(method: str, choice: str) -> None:
    plain = workload("qwen2.5-0.5b", method, checkpointing=method == "qlora", batch_size=2, seq_len_tokens=512)
    asked = replace(plain, architecture=_shallow(plain.architecture), **CHOICES[choice])

    traced, predicted = trace(asked), footprint(asked)

    for found, derived in zip(traced.phases, predicted.phases, strict=True):
        assert derived.allocated_bytes == pytest.approx(found.allocated_bytes, rel=TOLERANCE), found.phase


@pytest.mark.parametrize("checkpointing", [True, False])
def test_they_agree_on_float64_which_no_fused_attention_takes(checkpointing: bool) -> None:
    plain = workload("qwen2.5-0.5b", "lora", checkpointing=checkpointing, batch_size=2, seq_len_tokens=512)

    assert_agreement(replace(plain, architecture=_shallow(plain.architecture), dtype=Dtype.FLOAT64))


@pytest.mark.parametrize(("method", "rank"), covering(["lora", "qlora"], [8, 256]))
def test_they_agree_on_an_adapter_of_the_embedding(method: str, rank: int) -> None:
    plain = workload("qwen2.5-0.5b", method, checkpointing=True, batch_size=2, seq_len_tokens=512)
    lora = Lora(rank=rank, targets=("q_proj", "model.embed_tokens"))

    assert_agreement(replace(plain, architecture=_shallow(plain.architecture), lora=lora))


def test_quantized_weights_without_preparation_under_autocast_share_their_input_among_adapters() -> None:
    plain = workload("qwen2.5-0.5b", "qlora", checkpointing=False, batch_size=2, seq_len_tokens=256)
    asked = replace(plain, architecture=_shallow(plain.architecture), kbit_prep=False, autocast=Dtype.BFLOAT16)

    traced_bytes = max(phase.allocated_bytes for phase in trace(asked).phases)

    assert footprint(asked).allocated_bytes == pytest.approx(traced_bytes, rel=0.01)


def test_values_of_a_single_sequence_with_one_key_head_stay_a_view_of_the_fused_projection() -> None:
    whole = workload("santacoder", "qlora", checkpointing=False, batch_size=1, seq_len_tokens=512)
    asked = replace(whole, architecture=_shallow(whole.architecture))

    traced, predicted = trace(asked), footprint(asked)

    traced_bytes = max(phase.allocated_bytes for phase in traced.phases)
    assert predicted.allocated_bytes == pytest.approx(traced_bytes, rel=0.01)


def test_autocast_widens_a_softmax_that_states_no_type() -> None:
    """GPT-2's eager attention leaves the type of its softmax to PyTorch."""
    whole = workload("gpt2", "lora", checkpointing=False, batch_size=2, seq_len_tokens=512)
    narrow = from_config("narrow", {**whole.architecture.config, "n_layer": 8, "vocab_size": 1024})
    eager = replace(whole, architecture=narrow, attention=Attention.EAGER)

    assert_agreement(replace(eager, autocast=Dtype.BFLOAT16))
    assert_agreement(replace(eager, autocast=None))
