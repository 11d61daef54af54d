"""A loss on answers only, which Kaito's collator undoes."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import flag_option, uses_sft_config

CODE = "KT409"
NAME = "prompt-in-loss"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"

_NAMES = ("completion_only_loss", "assistant_only_loss")


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for each option that asks for a loss on a part of the sequence."""
    if not uses_sft_config(job):
        return
    for name in _NAMES:
        option = flag_option(job, "TrainingArguments", name)
        if option is not None:
            yield Fault(
                job.place_of(option),
                f"`{name}: true` has no effect: Kaito's collator makes the labels anew from all tokens, so the prompt "
                "is trained on too",
                help="leave it out and count on a loss over the whole text, or train with kaitoc's own runtime",
            )
