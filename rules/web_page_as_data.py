"""An input URL of a page that shows a file, which is saved in place of the file."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Edit, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.objects import Field
from kaitoc.rules._conditions import stage_effect
from kaitoc.rules._dataset import input_urls
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT476"
NAME = "web-page-as-data"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_PAGES = {
    "huggingface.co": ("/blob/", "/resolve/"),
    "hf.co": ("/blob/", "/resolve/"),
    "github.com": ("/blob/", "/raw/"),
    "gitlab.com": ("/-/blob/", "/-/raw/"),
}
"""By host: the part of a path that asks for a page about a file, and the one that asks for the file."""


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for each URL of a page."""
    if not is_on_kaito(job):
        return
    for field in input_urls(job):
        if field.text is not None and "/blob/" in field.text:
            yield from _fault(field, field.text)


def _fault(field: Field, url: str) -> Iterator[Fault]:
    from urllib.parse import urlsplit  # takes longer to import than most files to check

    try:
        parts = urlsplit(url)
    except ValueError:
        return  # KT315 says so
    page, file = _PAGES.get((parts.hostname or "").removeprefix("www."), ("", ""))
    if not page or page not in parts.path or "raw=" in parts.query:
        return
    written = field.value.source.slice(field.value_span)
    edit = Edit(field.value.source, field.value_span, written.replace(page, file, 1))
    yield Fault(
        field.value,
        f"`{url}` is the page that shows the file: Kaito saves its HTML, which no loader reads; {stage_effect('data')}",
        help=f"write `{file}` in place of `{page}`",
        fix=Fix(f"Write `{file}`", Applicability.SAFE, (edit,)) if page in written else None,
    )
