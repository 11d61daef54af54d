"""One module per searched choice: `CHOICES` is what the search may vary of a fine-tune, `SERVING_CHOICES` of a server.

Both go from the mildest to the strongest: of candidates that differ in equally many choices, the search prefers what
stands earlier here. Checkpointing and the batch may go either way; the other choices of a fine-tune offer only what
takes less memory.
"""

from __future__ import annotations

from typing import Any

from kaitoc.compiler.passes.choices import (
    attention,
    batch,
    checkpointing,
    double_quant,
    loss,
    optimizer,
    quantization,
    seq_len,
    server_batched_tokens,
    server_cache_dtype,
    server_context_length,
    server_layout,
    server_offloading,
    server_sequences,
    server_utilization,
    sharding,
)
from kaitoc.compiler.passes.choices.choice import Choice
from kaitoc.compiler.passes.choices.server_choice import ServingChoice

CHOICES: tuple[Choice[Any], ...] = (
    checkpointing.CHOICE,
    attention.CHOICE,
    loss.CHOICE,
    batch.CHOICE,
    sharding.CHOICE,
    optimizer.CHOICE,
    double_quant.CHOICE,
    quantization.CHOICE,
    seq_len.CHOICE,
)

SERVING_CHOICES: tuple[ServingChoice[Any], ...] = (
    server_offloading.CHOICE,
    server_utilization.CHOICE,
    server_sequences.CHOICE,
    server_batched_tokens.CHOICE,
    server_layout.CHOICE,
    server_cache_dtype.CHOICE,
    server_context_length.CHOICE,
)
