"""Several input URLs, of which one file is used."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault, related
from kaitoc.compiler.job.job import Job
from kaitoc.rules._dataset import dataset_path, input_urls, url_file_name
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT412"
NAME = "extra-input-urls"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when more files are downloaded than are read."""
    urls = [url for url in input_urls(job) if url.text]
    if not is_on_kaito(job) or len(urls) < 2:
        return
    names = {url_file_name(url.text or "") for url in urls}
    used = f"`{dataset_path(job)}`" if dataset_path(job) else "whichever the directory listing returns first"
    twins = " (files of the same name overwrite each other)" if len(names) < len(urls) else ""
    yield Fault(
        urls[1].value,
        f"{len(urls)} files are downloaded{twins}, but the runtime reads one: {used}",
        help="join them into one file",
        related=tuple(related("also downloaded", url.value) for url in urls[2:]),
    )
