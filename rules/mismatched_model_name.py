"""A model or a name of it that is not the preset's."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob

CODE = "KT728"
NAME = "mismatched-model-name"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield `model`, which serves other weights under the preset's name, and another served name."""
    if job.view is None or not job.uses_vllm:
        return
    model, name = job.option_of("model"), job.option_of("served-model-name")
    if model is not None:
        message = "`model` serves other weights under the preset's name; Kaito still sizes the nodes for the preset"
        yield Fault(model.key, message, help="name the model as `preset.name`")
    if name is not None and job.view.owner.ref.kind != "Workspace":
        message = "`served-model-name` is not the endpoint picker's name of the model: requests do not reach it"
        yield Fault(name.key, message, help="remove it")
