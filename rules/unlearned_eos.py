"""A tokenizer that pads with its end-of-sequence token, so the model never learns to stop."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.models import lacks_pad_token, turn_end
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
    """Yield a fault when the token that ends a sample is the one that pads."""
    if not is_on_kaito(job) or not job.parsed or job.model is None:
        return
    if not lacks_pad_token(job.model.value):
        yield from _of_a_template(job, turn_end(job.model.value))
        return
    yield Fault(
        job.section_place("ModelConfig"),
        f"the tokenizer of {job.model.value.name} has no padding token, so Kaito pads with the end-of-sequence token, "
        "and the collator masks it in every label: the model never learns to stop generating",
        help="end each turn with another token in `chat_template`, and stop at that token when serving",
    )


def _of_a_template(job: Job, end: str) -> Iterator[Fault]:
    """Yield a template without the token by which a model that pads with its end-of-sequence token ends a turn."""
    option, value = job.option("ModelConfig", "chat_template"), job.value("ModelConfig", "chat_template")
    if option is None or job.model is None or not end or not isinstance(value, str):
        return
    from kaitoc.rules._templates import decoded_template  # only written templates need it

    template = decoded_template(value)
    if template is None or end in template:
        return
    yield Fault(
        job.place_of(option),
        f"`chat_template` ends no turn with `{end}`, and {job.model.value.name} pads with its end-of-sequence token, "
        "which Kaito's collator masks in every label: the model never learns to stop",
        help=f"end each turn with `{end}`, at which serving stops",
    )
