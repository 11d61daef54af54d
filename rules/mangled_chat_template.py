"""A `chat_template` with characters that Kaito's runtime garbles."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._conditions import stage_effect
from kaitoc.rules._hazards import is_on_kaito
from kaitoc.rules._libraries import libraries_of
from kaitoc.rules._template_trial import try_template
from kaitoc.rules._templates import decoded_template

CODE = "KT457"
NAME = "mangled-chat-template"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield characters beyond ASCII, and a template that the trainer cannot render."""
    option, value = job.option("ModelConfig", "chat_template"), job.value("ModelConfig", "chat_template")
    if option is None or not isinstance(value, str) or not is_on_kaito(job):
        return
    if "{" not in value and "}" not in value and "\n" not in value:
        return
    problem = _escape_problem(value)
    if problem:
        yield Fault(
            job.place_of(option),
            f"Kaito decodes escapes in `chat_template`, and {problem}; {stage_effect('parse')}",
            help="double the backslash",
            severity=Severity.ERROR,
        )
    else:
        yield from _rendering_faults(job, option, value)
    if problem or value.isascii():
        return
    offender = next(character for character in value if not character.isascii())
    garbled = offender.encode("utf-8", "replace").decode("latin-1")
    escape = offender.encode("unicode_escape").decode("ascii")
    yield Fault(
        job.place_of(option),
        f"Kaito decodes escapes in `chat_template` byte by byte, which turns {offender!r} "
        f"into {garbled!r} in every sample",
        help=f"write it as `{escape}`, in single quotes so that YAML leaves the escape to Kaito",
    )


def _rendering_faults(job: Job, option: Option, value: str) -> Iterator[Fault]:
    """Yield a fault when the trainer cannot render a template, or has no text of it to train on."""
    template = decoded_template(value)
    if template is None:
        return
    trial = try_template(template, libraries_of(job).template_language)
    words = f"is not Jinja: {trial.syntax}" if trial.syntax else f"cannot be rendered: {trial.failure}"
    if not trial.syntax and not trial.failure:
        if not trial.is_blank:
            return
        words = "renders to nothing"
    yield Fault(
        job.place_of(option),
        f"`chat_template` {words}; {stage_effect('trainer')}",
        help="fix it, or remove it to use the model's own template",
        severity=Severity.ERROR,
    )


def _escape_problem(value: str) -> str:
    """Return why `codecs.decode(value, "unicode_escape")` raises; empty when it does not."""
    import codecs

    try:
        codecs.decode(value, "unicode_escape")
    except ValueError as error:
        return str(error).partition(": ")[2] or str(error)
    return ""
