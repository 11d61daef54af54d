"""An input URL that Kaito refuses to fetch."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.library_changes import version_number
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.data_url import FIRST_RELEASE, UrlRefusal, url_refusal
from kaitoc.rules._dataset import input_urls

CODE = "KT315"
NAME = "unsafe-input-url"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_MAX_SHOWN = 80
_REASONS: dict[UrlRefusal, str] = {
    "invalid": "is not a URL with a scheme and a host",
    "scheme": "is not an http or https URL",
    "local host": "points at the training pod itself or at a cloud's metadata service",
    "private address": "points at a private, loopback or link-local address",
}


def check(job: Job) -> Iterator[Fault]:
    if job.release.number < version_number(FIRST_RELEASE):
        return
    for field in input_urls(job):
        refusal = url_refusal(field.text) if field.text is not None else None
        if refusal is not None and field.text is not None:
            shown = f"`{field.text[:_MAX_SHOWN]}`" if field.text else "an empty text"
            yield Fault(field.value, f"{shown} {_REASONS[refusal]}; Kaito's webhook refuses the Workspace")
