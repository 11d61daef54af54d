"""State the share of data to train on: Kaito's code holds out a fifth unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import evaluates
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_to

NAME = "repair-dataset"

_CODE_DEFAULT = 0.8
_SPLIT_FOR_EVALUATION = 0.9


def run(job: Job, _: PassContext) -> Iterator[Change]:
    """Yield an explicit `train_test_split`."""
    if not job.parsed:
        return
    if job.option("DatasetConfig", "train_test_split") is None:
        yield _unset_split(job)
    elif evaluates(job) and job.value("DatasetConfig", "train_test_split") == 1:
        reason = "evaluation is on and all data is used for training, so there is nothing to evaluate on: the job stops"
        yield set_to(job, "DatasetConfig", "train_test_split", _SPLIT_FOR_EVALUATION, reason, Preserves.INTENT)


def _unset_split(job: Job) -> Change:
    if evaluates(job):
        reason = "Kaito's default, set explicitly; its templates set 1"
        return set_to(job, "DatasetConfig", "train_test_split", _CODE_DEFAULT, reason, Preserves.EXACT)
    reason = "Kaito's default holds out 20% of the data, which no evaluation uses"
    return set_to(job, "DatasetConfig", "train_test_split", 1, reason, Preserves.INTENT)
