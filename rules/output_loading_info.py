"""`output_loading_info: true`, which returns a pair instead of the model."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import AFTER_LOADING, flag_option, is_on_kaito

CODE = "KT423"
NAME = "output-loading-info"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the model is asked for together with a report of its loading."""
    option = flag_option(job, "ModelConfig", "output_loading_info")
    if option is None or not is_on_kaito(job):
        return
    yield Fault(
        job.place_of(option),
        "with `output_loading_info: true` transformers returns a pair, the model and a report, which Kaito takes for "
        f"the model: {AFTER_LOADING}",
        help="leave it out; the log reports missing weights anyway",
        fix=setting_fix(
            job, "ModelConfig", "output_loading_info", False, "Turn `output_loading_info` off", Applicability.SAFE
        ),
    )
