"""A `chat_template` that is taken for the name of a file."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import is_on_kaito
from kaitoc.rules._problems import STOPS

CODE = "KT456"
NAME = "missing-template-file"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_TEMPLATE_CHARACTERS = frozenset("{}\n")
_MOUNTED = ("/mnt/data/", "/mnt/config/")


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the text is no template and names no file that a mount could bring in."""
    option, value = job.option("ModelConfig", "chat_template"), job.value("ModelConfig", "chat_template")
    if option is None or not isinstance(value, str) or not is_on_kaito(job) or option.plain is None:
        return
    if _TEMPLATE_CHARACTERS & set(value) or value.startswith(_MOUNTED):
        return
    if "/" in value and not value.startswith("/"):
        return
    yield Fault(
        job.place_of(option),
        f"`chat_template: {value}` has no braces, so it is taken for the path of a file, and none is mounted there: "
        f"{STOPS}",
        help="write the Jinja template itself, or the path of a file in a mounted volume",
    )
