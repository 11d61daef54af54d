"""No `train_test_split`: a fifth of the data is held out and never used."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import (
    evaluates,
)
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT411"
NAME = "implicit-test-split"
SEVERITY = Severity.WARNING
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when data is held out by default and nothing evaluates on it."""
    if not is_on_kaito(job) or not job.parsed or evaluates(job):
        return
    section = job.config.section("DatasetConfig") if job.config is not None else None
    is_written = job.option("DatasetConfig", "train_test_split") is not None
    if is_written or (section is not None and not section.is_mapping):
        return
    yield Fault(
        job.section_place("DatasetConfig"),
        "`train_test_split` is not set: the default of 0.8 holds out 20% of the data, which is never used without "
        "`eval_strategy`",
        help="write `train_test_split: 1` to train on everything",
        fix=setting_fix(job, "DatasetConfig", "train_test_split", 1, "Train on all data", Applicability.UNSAFE),
    )
