"""Evaluation although all data is used for training."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import (
    evaluates,
)
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import AFTER_LOADING
from kaitoc.rules._memory import option_place

CODE = "KT428"
NAME = "evaluation-without-data"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"

_SHARE_FOR_TRAINING = 0.9


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when evaluation is asked for and nothing is held out for it."""
    if not evaluates(job) or job.value("DatasetConfig", "train_test_split") != 1:
        return
    title = f"Hold out {1 - _SHARE_FOR_TRAINING:.0%} for evaluation"
    share = _SHARE_FOR_TRAINING
    yield Fault(
        option_place(job, "TrainingArguments", "eval_strategy"),
        f"`eval_strategy` asks for evaluation, but `train_test_split: 1` leaves no data for it: {AFTER_LOADING}",
        help=f"write `train_test_split: {share}`, or leave `eval_strategy` out",
        fix=setting_fix(job, "DatasetConfig", "train_test_split", share, title, Applicability.UNSAFE),
    )
