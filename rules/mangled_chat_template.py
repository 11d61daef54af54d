"""A `chat_template` with characters that Kaito's runtime garbles."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT457"
NAME = "mangled-chat-template"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the template has characters beyond ASCII."""
    option, value = job.option("ModelConfig", "chat_template"), job.value("ModelConfig", "chat_template")
    if option is None or not isinstance(value, str) or value.isascii() or not is_on_kaito(job):
        return
    if "{" not in value and "}" not in value and "\n" not in value:
        return
    found = next(character for character in value if not character.isascii())
    garbled = found.encode("utf-8", "replace").decode("latin-1")
    escape = found.encode("unicode_escape").decode("ascii")
    yield Fault(
        job.place_of(option),
        f"Kaito decodes escapes in `chat_template` byte by byte, which makes {garbled!r} of {found!r} in every sample",
        help=f"write it as `{escape}`, in single quotes so that YAML leaves the escape to Kaito",
    )
