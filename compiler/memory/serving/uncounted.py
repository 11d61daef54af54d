"""What an estimate of a server leaves out, in words for the user."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.memory.serving.footprint import ServingFootprint
from kaitoc.compiler.memory.serving.speculation import Drafter


def uncounted(footprint: ServingFootprint) -> Iterator[str]:
    """Yield what may take memory and is not in the numbers; bounds of it are in their interval, where there are any."""
    speculation = footprint.workload.speculation
    if speculation is not None and speculation.drafter is Drafter.UNKNOWN:
        yield f"the drafter `{speculation.name}`, whose size no catalog has"
    encoding = max(rank.encoder_bytes - rank.peak_bytes for rank in footprint.ranks)
    if encoding > 0 and footprint.workload.kv_cache_bytes is None:
        yield f"encoding images while profiling, up to {format_gib(encoding)} more"
