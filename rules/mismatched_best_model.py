"""`load_best_model_at_end` without an evaluation at every save."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import flag_option
from kaitoc.rules._problems import STOPS

CODE = "KT450"
NAME = "mismatched-best-model"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the best model is asked for and saving and evaluation have different rhythms."""
    option = flag_option(job, "TrainingArguments", "load_best_model_at_end")
    evaluation = job.value("TrainingArguments", "eval_strategy")
    saving = job.value("TrainingArguments", "save_strategy")
    if option is None or saving == "best" or evaluation == saving or None in (evaluation, saving):
        return
    yield Fault(
        job.place_of(option),
        f"`load_best_model_at_end` needs an evaluation at every save, but `save_strategy` is {saving} and "
        f"`eval_strategy` is {evaluation}: {STOPS}",
        help="give both the same value, such as epoch, or leave `load_best_model_at_end` out",
    )
