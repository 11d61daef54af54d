"""Fused cross-entropies of Liger Kernel and Apple: the closed form against their Python on meta tensors, by version."""

from __future__ import annotations

from dataclasses import replace

import pytest
from samples import covering

pytest.importorskip("torch")

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.trace.run import trace
from kaitoc.compiler.memory.workload import Dtype, Lora, Loss, Quantization, Workload, WorkloadError
from kaitoc.compiler.memory.workload_key import liger_chunk_tokens

pytestmark = [pytest.mark.runtime, pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.no_cover]
MODEL = find_model("qwen2.5-0.5b")
assert MODEL is not None
SHALLOW = from_config("shallow", {**MODEL.config, "model_type": MODEL.model_type, "num_hidden_layers": 2})
STEP = Workload(SHALLOW, Lora(), 2, 600, "trl-1.13", gradient_checkpointing=True, loss=Loss.LIGER)
WAYS = {
    "frozen head": {},
    "half under autocast": {"autocast": Dtype.BFLOAT16},
    "head in float32 under autocast": {
        "quantization": Quantization.NF4, "kbit_prep": True, "autocast": Dtype.BFLOAT16,
    },
    "trained head": {"lora": None},
    "trained head in float32": {"lora": None, "dtype": Dtype.FLOAT32},
}  # fmt: skip
VERSIONS = ["0.2.1", "0.4.2", "0.5.0", "0.6.2", "0.8.1", "0.8.5"]


@pytest.mark.parametrize(("way", "version"), covering(list(WAYS), VERSIONS, repeats=2))
def test_both_engines_agree_on_what_liger_holds_by_version(way: str, version: str) -> None:
    assert_phases_agree(replace(STEP, liger_version=version, **WAYS[way]))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_both_engines_agree_on_cut_cross_entropy(method: str) -> None:
    assert_phases_agree(replace(STEP, loss=Loss.CCE, lora=Lora() if method == "lora" else None))


def assert_phases_agree(step: Workload) -> None:
    for found, derived in zip(trace(step).phases, footprint(step).phases, strict=True):
        assert derived.allocated_bytes == pytest.approx(found.allocated_bytes, rel=0.02), found.phase


@pytest.mark.parametrize("num_tokens", [1, 169, 170, 171, 4095, 4096, 5408, 5409])
def test_sizes_of_one_derivation_share_their_chunk(num_tokens: int) -> None:
    """Every number of tokens is priced with its own chunk, whatever was asked before."""
    priced = footprint(replace(STEP, batch_size=1, seq_len_tokens=num_tokens)).allocated_bytes
    footprint(replace(STEP, batch_size=1, seq_len_tokens=num_tokens * 2))

    assert footprint(replace(STEP, batch_size=1, seq_len_tokens=num_tokens)).allocated_bytes == priced
    assert 170 * liger_chunk_tokens(SHALLOW, num_tokens) >= num_tokens


def test_cut_cross_entropy_refuses_what_it_asserts() -> None:
    with pytest.raises(WorkloadError, match="bfloat16 or float16"):
        footprint(replace(STEP, loss=Loss.CCE, dtype=Dtype.FLOAT32))


@pytest.mark.parametrize("version", ["9.9", "0.8.6", "1"])
def test_a_version_of_liger_that_nobody_read_names_the_nearest(version: str) -> None:
    with pytest.raises(WorkloadError, match=r"the nearest known version is 0\.8\.5"):
        footprint(replace(STEP, loss=Loss.LIGER, liger_version=version))
