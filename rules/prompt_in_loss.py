"""A loss on answers only, which Kaito's collator undoes, or which TRL has no template for."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._conditions import faults_under, stage_effect
from kaitoc.rules._hazards import flag_option, uses_sft_config
from kaitoc.rules._libraries import libraries_of
from kaitoc.rules._templates import decoded_template, has_generation_marks

CODE = "KT409"
NAME = "prompt-in-loss"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"

_ASSISTANT = "assistant_only_loss"
_NAMES = ("completion_only_loss", _ASSISTANT)


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for each option that asks for a loss on a part of the sequence."""
    if not uses_sft_config(job):
        return
    stops = [*faults_under(job, CODE), *_unmarked_template(job)]
    yield from stops
    for name in _NAMES:
        option = flag_option(job, "TrainingArguments", name)
        if option is not None and not (stops and name == _ASSISTANT):
            yield Fault(
                job.place_of(option),
                f"`{name}: true` has no effect: Kaito's collator rebuilds the labels from all tokens, so the prompt "
                "is trained on too",
                help="leave it out and expect a loss over the whole text, or train with `kaitoc run`",
            )


def _unmarked_template(job: Job) -> Iterator[Fault]:
    """Yield a template of the configuration in which TRL cannot find the assistant's turns."""
    option, template = job.option("ModelConfig", "chat_template"), job.value("ModelConfig", "chat_template")
    if option is None or not isinstance(template, str) or not job.flag("TrainingArguments", _ASSISTANT):
        return
    if job.option("TrainingArguments", "chat_template_path") is not None:
        return
    text = decoded_template(template)
    if text is None or has_generation_marks(text) or libraries_of(job).has_training_template(text):
        return
    yield Fault(
        job.place_of(option),
        f"`{_ASSISTANT}: true` needs a template that marks the assistant's turns, and this one has no "
        f"`{{% generation %}}`, and TRL has no variant of it that does; {stage_effect('trainer')}",
        help="put `{% generation %}` and `{% endgeneration %}` around the assistant's text, or leave "
        f"`{_ASSISTANT}` out: Kaito's collator builds the labels from all tokens anyway",
        severity=Severity.ERROR,
    )
