"""A `train_test_split` that is not a share of the data."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import AFTER_LOADING, written_number

CODE = "KT438"
NAME = "split-out-of-range"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_LEAST_SHARE = 1e-4
"""A smaller share of the data rounds to no example of 10,000, and the split raises."""


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the share of data to train on is not above 0 and at most 1."""
    written = written_number(job, "DatasetConfig", "train_test_split")
    if written is None or _LEAST_SHARE <= written.value <= 1:
        return
    if 0 < written.value < 1:
        yield Fault(
            job.place_of(written.option),
            f"`train_test_split: {written.text}` leaves less than one example in {1 / _LEAST_SHARE:,.0f} to train on: "
            f"{AFTER_LOADING}",
            help="write 1 to train on all data, 0.9 to hold out a tenth",
        )
        return
    yield Fault(
        job.place_of(written.option),
        f"`train_test_split` is the share of data to train on, above 0 and at most 1, not {written.text}: "
        f"{AFTER_LOADING}",
        help="write 1 to train on all data, 0.9 to hold out a tenth",
    )
