"""A field of a Workspace or of its ConfigMap that the API server refuses."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.last_applied import MOST_BYTES, annotation_bytes
from kaitoc.compiler.manifest.object_faults import object_errors, place_of, quoting_help
from kaitoc.compiler.manifest.objects import Manifest

CODE = "KT110"
NAME = "refused-field"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_TOLD_ELSEWHERE = frozenset(
    (("tuning", "input"), ("tuning", "output"), ("tuning", "preset", "name"), ("resource", "labelSelector"))
)
"""Required fields of a tuning Workspace that have rules of their own."""


def check(manifest: Manifest, release: Release) -> Iterator[Fault]:
    """Yield what the API server says of an object, but for the unknown keys of a Workspace."""
    for error in object_errors(manifest, release.name):
        if error.keyword == "unknown" and manifest.is_workspace:
            continue
        if error.keyword == "required" and manifest.is_tuning_workspace and error.path in _TOLD_ELSEWHERE:
            continue
        place = place_of(manifest, error)
        message = f"{error.message}; the API server refuses the {manifest.ref.kind}"
        yield Fault(place, message, help=error.help or quoting_help(place, error))
    num_bytes = annotation_bytes(manifest)
    if num_bytes > MOST_BYTES:
        yield Fault(
            manifest.place,
            f"`kubectl apply` stores the whole object in an annotation: {num_bytes:,} bytes of annotations in total; "
            f"the API server allows {MOST_BYTES:,} (256 KiB)",
            help="use `kubectl apply --server-side` or `kubectl create`, which keep no such annotation",
            severity=Severity.WARNING,
        )
