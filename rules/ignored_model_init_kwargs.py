"""`model_init_kwargs` for a model that is already built."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._sft import useless_option

CODE = "KT446"
NAME = "ignored-model-init-kwargs"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when arguments are given for a model that the trainer does not build."""
    yield from useless_option(
        job,
        "model_init_kwargs",
        "`model_init_kwargs` is ignored: Kaito builds the model itself, from ModelConfig, and passes it to the trainer",
        help="move the options that ModelConfig has there; Kaito's image offers no choice of attention",
    )
