"""A `max_length` of zero or less."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import AFTER_LOADING, is_on_kaito, written_number

CODE = "KT439"
NAME = "max-length-below-one"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_LONG_TOKENS = 64
"""Instructions with their answers are rarely much longer, and a job of which no token is left stops."""


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when no token is left, or tokens are cut off from the wrong end's count."""
    written = written_number(job, "TrainingArguments", "max_length")
    if written is None or written.value >= 1:
        return
    tokens = int(written.value)
    keeps_end = job.value("TrainingArguments", "truncation_mode") == "keep_end"
    if tokens == 0 and is_on_kaito(job) and keeps_end:
        effect, severity = "truncates nothing with `truncation_mode: keep_end`", Severity.WARNING
    elif tokens == 0 and is_on_kaito(job) and not job.release.has(LibraryChange.EMPTIES_ROWS):
        effect, severity = "truncates nothing in this release, and later ones refuse it", Severity.WARNING
    elif tokens == 0:
        effect, severity = f"leaves no tokens and so no samples: {AFTER_LOADING}", Severity.ERROR
    else:
        effect = f"silently drops the last {-tokens:,} tokens of every sequence"
        is_long = -tokens >= _LONG_TOKENS
        effect += f", and stops the job where no sequence is longer: {AFTER_LOADING}" if is_long else ""
        severity = Severity.ERROR if is_long else Severity.WARNING
    yield Fault(
        job.place_of(written.option),
        f"`max_length: {tokens}` {effect}",
        help='write the longest sequence to train on, in tokens; this release has no "unlimited" setting',
        severity=severity,
    )
