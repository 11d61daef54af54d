"""One module per searched choice; `CHOICES` is what the search may vary, from the mildest to the strongest.

Of candidates that differ in equally many choices, the search prefers what stands earlier here. Checkpointing and the
batch may go either way; the others offer only what takes less memory.
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
    sharding,
)
from kaitoc.compiler.passes.choices.model import Choice

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
