"""An adapter that only has URLs, which Kaito cannot fetch for inference."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob

CODE = "KT713"
NAME = "unpullable-adapter"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield adapters without an image or a volume: their init container has no image and never runs."""
    for adapter in job.view.adapters if job.view is not None else ():
        source = adapter.given("source")
        names = (
            {field.pointer.rpartition("/")[2] for field in adapter.fields("source")} if source is not None else set()
        )
        if source is not None and "urls" in names and not names & {"image", "volumeSource"}:
            message = "an adapter with nothing but `urls` gets an init container without an image: the pod never starts"
            yield Fault(source.key, message, help="put the adapter into an image or on a volume")
