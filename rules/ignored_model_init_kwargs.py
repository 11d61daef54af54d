"""`model_init_kwargs` for a model that is already built."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import uses_sft_config
from kaitoc.rules._problems import removal

CODE = "KT446"
NAME = "ignored-model-init-kwargs"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when arguments are given for a model that the trainer does not build."""
    option = job.option("TrainingArguments", "model_init_kwargs")
    if option is None or not uses_sft_config(job):
        return
    yield Fault(
        job.place_of(option),
        "`model_init_kwargs` is ignored: Kaito builds the model itself, from ModelConfig, and hands it to the trainer",
        help="write what ModelConfig has a key for there; attention cannot be chosen on Kaito's image",
        fix=removal(job, option, Applicability.SAFE),
    )
