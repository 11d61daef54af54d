"""A tokenizer that pads with its end-of-sequence token, which is then never learned."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.models import lacks_pad_token
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT408"
NAME = "unlearned-eos"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the model's tokenizer has no padding token of its own."""
    if not is_on_kaito(job) or not job.parsed or job.model is None or not lacks_pad_token(job.model.value):
        return
    yield Fault(
        job.section_place("ModelConfig"),
        f"the tokenizer of {job.model.value.name} has no padding token, so Kaito pads with the end-of-sequence token, "
        "and its collator takes that out of every label: the adapter never learns to stop",
        help="end each turn with another token in `chat_template`, and stop at that token when serving",
    )
