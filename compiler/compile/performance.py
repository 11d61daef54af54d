"""What a job's configuration is predicted to need and to give."""

from __future__ import annotations

from kaitoc.compiler.compile.model import Performance
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of
from kaitoc.compiler.job.prices import usd_per_million_tokens
from kaitoc.compiler.job.speed import price_of, throughput_of


def performance_of(job: Job) -> Performance:
    """Return a job's predicted peak, speed and cost; what cannot be told is None."""
    predicted = footprint_of(job)
    speed = throughput_of(job)
    price = price_of(job)
    return Performance(
        peak_bytes=predicted.device_bytes if predicted is not None else None,
        tokens_per_second=speed.tokens_per_second if speed is not None else None,
        step_seconds=speed.step_seconds if speed is not None else None,
        usd_per_million_tokens=(
            usd_per_million_tokens(price, 1.0 / speed.tokens_per_second)
            if speed is not None and price is not None
            else None
        ),
    )
