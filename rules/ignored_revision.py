"""A model `revision` that local weights do not have."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import removal
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT447"
NAME = "ignored-revision"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when a revision is named and the weights come from the preset's image."""
    option, value = job.option("ModelConfig", "revision"), job.value("ModelConfig", "revision")
    path = job.value("ModelConfig", "pretrained_model_name_or_path")
    is_local = isinstance(path, str) and path.startswith("/")
    if option is None or value == "main" or not is_on_kaito(job) or not is_local:
        return
    yield Fault(
        job.place_of(option),
        f"`revision: {value}` is ignored: the weights come from the preset's image, in the revision that Kaito packed",
        help="leave it out; Kaito's list of supported models states each preset's revision",
        fix=removal(job, option, Applicability.SAFE),
    )
