"""`layer_replication`, which cannot be written in a form that works."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import removal
from kaitoc.rules._hazards import AFTER_LOADING, is_on_kaito

CODE = "KT448"
NAME = "unusable-layer-replication"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when layers are to be repeated, which the parser reads as characters."""
    option = job.option("LoraConfig", "layer_replication")
    if option is None or not is_on_kaito(job) or job.value("LoraConfig", "layer_replication") is None:
        return
    yield Fault(
        job.place_of(option),
        "`layer_replication` takes pairs of numbers, and the parser splits each element into its characters: "
        f"{AFTER_LOADING}",
        help="remove it: Kaito's training config cannot express it",
        fix=removal(job, option, Applicability.UNSAFE),
    )
