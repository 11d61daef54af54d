"""The longest sequence that a `config.json` allows."""

from __future__ import annotations

import pytest

from kaitoc.compiler.catalog.architecture import ArchitectureError
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.workload import Lora, Workload, WorkloadError

LLAMA = {
    "model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": 1000, "max_position_embeddings": 4096,
}  # fmt: skip
FALCON = {
    "model_type": "falcon", "hidden_size": 284, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 1000,
}  # fmt: skip


def limit_of(**keys: object) -> int:
    return from_config("tiny", {**LLAMA, **keys}).max_position_embeddings


def test_falcons_config_has_no_limit_and_none_is_invented() -> None:
    model = from_config("falcon", FALCON)

    assert model.max_position_embeddings == 0
    assert footprint(Workload(model, Lora(), 1, 100_000, "transformers-5")).allocated_bytes > 0


def test_a_table_of_learned_positions_needs_its_length() -> None:
    with pytest.raises(ArchitectureError, match="max_position_embeddings"):
        from_config("gpt2", {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 100})


@pytest.mark.parametrize(
    ("keys", "limit"),
    [
        ({}, 4096),
        ({"rope_scaling": None}, 4096),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, 16384),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, 8192),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}}, 16384),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 512}}, 4096),
        ({"rope_scaling": {"rope_type": "longrope"}}, 4096),
        ({"rope_scaling": {"rope_type": "linear", "factor": "4"}}, 4096),
        ({"rope_scaling": {"rope_type": "linear", "factor": float("nan")}}, 4096),
        ({"rope_scaling": {"rope_type": "linear", "factor": -4}}, 4096),
        (
            {
                "rope_parameters": {
                    "full_attention": {"rope_type": "yarn", "factor": 4.0},
                    "sliding_attention": {"rope_type": "default"},
                }
            },
            16384,
        ),
    ],
)
def test_scaled_positions_reach_further(keys: dict[str, object], limit: int) -> None:
    assert limit_of(**keys) == limit


def test_beyond_the_scaled_limit_is_refused() -> None:
    model = from_config("tiny", {**LLAMA, "rope_scaling": {"rope_type": "linear", "factor": 2.0}})

    footprint(Workload(model, Lora(), 1, 8192, "transformers-5"))
    with pytest.raises(WorkloadError, match=r"8,192.*`rope_scaling` in a config\.json"):
        footprint(Workload(model, Lora(), 1, 8193, "transformers-5"))
