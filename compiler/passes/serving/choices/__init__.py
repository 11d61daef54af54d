"""One module per searched choice; `SERVING_CHOICES` is what the search may vary, from the mildest to the strongest.

Of candidates that differ in equally many choices, the search prefers what stands earlier here.
"""

from __future__ import annotations

from typing import Any

from kaitoc.compiler.passes.serving.choices import (
    batched_tokens,
    cache_dtype,
    context_length,
    layout,
    offloading,
    sequences,
    utilization,
)
from kaitoc.compiler.passes.serving.choices.model import ServingChoice

SERVING_CHOICES: tuple[ServingChoice[Any], ...] = (
    offloading.CHOICE,
    utilization.CHOICE,
    sequences.CHOICE,
    batched_tokens.CHOICE,
    layout.CHOICE,
    cache_dtype.CHOICE,
    context_length.CHOICE,
)
