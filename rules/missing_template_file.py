"""A chat template that is the path of a file that does not exist."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.image_templates import is_image_template
from kaitoc.rules._conditions import ARGUMENTS, stage_effect
from kaitoc.rules._dataset import input_urls, url_file_name
from kaitoc.rules._hazards import is_on_kaito
from kaitoc.rules._problems import STOPS

CODE = "KT456"
NAME = "missing-template-file"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_TEMPLATE_CHARACTERS = frozenset("{}\n")
_CONFIG = "/mnt/config/training_config.yaml"
_INPUT = "/mnt/data/"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when a text is no template and names no file that a mount could bring in."""
    if is_on_kaito(job):
        yield from _template(job)
        yield from _template_path(job)


def _template(job: Job) -> Iterator[Fault]:
    option, value = job.option("ModelConfig", "chat_template"), job.value("ModelConfig", "chat_template")
    if option is None or not isinstance(value, str) or option.plain is None:
        return
    if _TEMPLATE_CHARACTERS & set(value) or value == _CONFIG or _may_be_in_the_input(job, value):
        return
    if is_image_template(job.release.name, value):
        return
    if "/" in value and not value.startswith("/"):
        return
    yield Fault(
        job.place_of(option),
        f"`chat_template: {value}` has no braces, so it is read as a file path, and no file is mounted there: {STOPS}",
        help="write the Jinja template itself, or the path of a file in a mounted volume",
    )


def _template_path(job: Job) -> Iterator[Fault]:
    """Yield the path of a file below the input that none of its URLs is saved as; other paths are KT462's."""
    option, value = job.option(ARGUMENTS, "chat_template_path"), job.value(ARGUMENTS, "chat_template_path")
    if option is None or not isinstance(value, str) or not value.startswith(_INPUT) or _may_be_in_the_input(job, value):
        return
    yield Fault(
        job.place_of(option),
        f"`chat_template_path: {value}` is not one of the files that the input downloads; {stage_effect('trainer')}",
        help="write the template into `ModelConfig.chat_template`",
    )


def _may_be_in_the_input(job: Job, path: str) -> bool:
    """Return whether a path may be a file of the input; of a volume or an image nothing is known."""
    if not path.startswith(_INPUT):
        return False
    names = [url_file_name(url.text) for url in input_urls(job) if url.text]
    return not names or path.removeprefix(_INPUT) in names
