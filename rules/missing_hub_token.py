"""A gated model without the secret that holds the token for it."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob

CODE = "KT712"
NAME = "missing-hub-token"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_GATED = ("meta-llama/", "llama-3", "google/gemma-3", "gemma-3")


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a preset whose weights the hub gives out only for a token, where no secret is named."""
    view, model = job.view, job.model
    if view is None or model is None or job.preset is None or job.preset.place is None or view.secret is not None:
        return
    if job.preset.value.lower().startswith(_GATED):
        yield Fault(
            job.preset.place,
            f"{model.value.hf_id} is gated and there is no `modelAccessSecret`: the GPU node is provisioned, then the "
            "download fails",
            help="name a secret that has the key HF_TOKEN under `preset.presetOptions.modelAccessSecret`",
        )
