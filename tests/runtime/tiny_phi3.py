"""An untrained Phi-3 of a few layers, built in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_tiny_phi3(folder: Path, tokenizer: Any, num_layers: int = 2, hidden_size: int = 64) -> None:
    """Write model and tokenizer; the weights are always the same."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
    )
    Phi3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
