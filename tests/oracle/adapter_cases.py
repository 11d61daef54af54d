"""The adapters that are recorded: how each is made, by the runtime's own parts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "runtime"), str(TESTS.parent / "examples")]

import torch  # noqa: E402  (after the path)
from tiny_architectures import tiny_config  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from kaitoc.compiler.plan.plan import LoraPlan, Plan  # noqa: E402
from kaitoc.runtime.model.adapter import adapt  # noqa: E402
from kaitoc.runtime.quiet import quiet_libraries  # noqa: E402

NUM_TOKENS = 128
PATTERNS = {"rank_pattern": {"q_proj": 4, "layers.1.mlp.down_proj": 2}, "alpha_pattern": {"self_attn.q_proj": 32}}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "every linear layer": ("phi3", {}),
    "named layers": ("llama", {"target_modules": ("q_proj", "v_proj"), "lora_alpha": 16}),
    "a name that other modules share": ("llama", {"target_modules": ("layers.1.self_attn.q_proj",)}),
    "excluded layers": ("llama", {"exclude_modules": ("layers.0.mlp.up_proj", "o_proj")}),
    "some layers": ("llama", {"target_modules": ("k_proj",), "layers_to_transform": (1,)}),
    "patterns": ("llama", PATTERNS),
    "rank-stabilised": ("phi3", {"use_rslora": True, "r": 16}),
    "gaussian": ("phi3", {"init_lora_weights": "gaussian"}),
    "PiSSA": ("llama", {"init_lora_weights": "pissa", "rank_pattern": {"q_proj": 4}}),
    "rank-stabilised PiSSA": ("gpt2", {"init_lora_weights": "pissa_niter_4", "use_rslora": True}),
    "DoRA": ("phi3", {"use_dora": True}),
    "a module in full": ("phi3", {"modules_to_save": ("lm_head",)}),
    "biases": ("starcoder2", {"bias": "lora_only"}),
    "rank 64": ("llama", {"r": 64, "target_modules": ("q_proj",)}),
    "Conv1D": ("gpt2", {}),
    "a class of its own": ("falcon", {}),
    "fused experts": ("mixtral", {}),
    "a shared expert": ("qwen2_moe", {}),
    "latent attention": ("deepseek_v3", {}),
    "an embedding": ("granitemoe", {"target_modules": ("embed_tokens", "q_proj")}),
    "PiSSA beside an embedding": (
        "llama",
        {"target_modules": ("embed_tokens", "q_proj"), "init_lora_weights": "pissa"},
    ),
    "PiSSA of a layer with one output": ("qwen2_moe", {"init_lora_weights": "pissa", "use_rslora": True}),
    "a state space": ("mamba", {"target_modules": ("in_proj", "x_proj")}),
}
"""The architecture and the plan's LoraConfig."""


def save_base(name: str, folder: Path) -> None:
    """Write an untrained model of an architecture."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(tiny_config(name, NUM_TOKENS), dtype=torch.float32).save_pretrained(folder)


def adapted(base: Path, lora: dict[str, Any], release: str) -> tuple[Any, Plan]:
    """Return a saved model with an adapter that changes what it computes, and the plan of both."""
    plan = Plan.model_validate(
        {
            "name": "case", "model": {"path": str(base)}, "lora": lora, "data": {"paths": ["none"]},
            "output": {"path": "none"}, "provenance": {"kaitoc_version": "test", "kaito_release": release},
        }
    )  # fmt: skip
    torch.manual_seed(1)
    with quiet_libraries():
        model = adapt(AutoModelForCausalLM.from_pretrained(base), plan, LoraPlan.model_validate(lora))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model, plan
