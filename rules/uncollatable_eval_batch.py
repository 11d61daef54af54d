"""An evaluation batch above one in a release that cannot pad it."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import can_pad_batches, evaluates, evaluates_at_all
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._memory import option_place

CODE = "KT405"
NAME = "uncollatable-eval-batch"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_DEFAULT_BATCH = 8


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when evaluation takes several sequences and the release's collator cannot pad them."""
    if not job.parsed or can_pad_batches(job) or not evaluates_at_all(job):
        return
    batch = job.integer("TrainingArguments", "per_device_eval_batch_size", _DEFAULT_BATCH)
    if batch <= 1:
        return
    name = "per_device_eval_batch_size"
    is_written = job.option("TrainingArguments", name) is not None
    asking = "eval_strategy" if evaluates(job) else "eval_on_start"
    yield Fault(
        option_place(job, "TrainingArguments", name if is_written else asking),
        f"evaluation takes batches of {batch}{'' if is_written else ' by default'}, which TRL {job.release.trl} of "
        f"{job.release.name} cannot pad with Kaito's collator: the first evaluation stops the run",
        help=f"write `{name}: 1`",
        fix=setting_fix(job, "TrainingArguments", name, 1, "Evaluate one sequence at a time", Applicability.SAFE),
    )
