"""An annotation whose value Kaito's webhook refuses."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.core.annotations import TYPE_CHECKING
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.object_schemas import INFERENCE_SET
from kaitoc.compiler.manifest.objects import Manifest

if TYPE_CHECKING:
    from kaitoc.compiler.catalog.admission import CheckedAnnotation

CODE = "KT353"
NAME = "refused-annotation"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(manifest: Manifest, release: Release) -> Iterator[Fault]:
    """Yield annotations of a Workspace, or of the template of an InferenceSet, that the webhook does not take."""
    version = manifest.api_version.partition("/")[2]
    if manifest.is_workspace:
        path: tuple[str, ...] = ("metadata", "annotations")
    elif manifest.ref.kind == INFERENCE_SET and manifest.is_kaitos:
        path, version = ("spec", "template", "metadata", "annotations"), "v1beta1"
    else:
        return
    if manifest.entry(*path) is None:
        return
    from kaitoc.compiler.catalog.admission import admission_of  # few objects have annotations

    for checked in admission_of(release.name).annotations:
        if version in checked.versions:
            yield from _refused(manifest, path, checked)


def _refused(manifest: Manifest, path: tuple[str, ...], checked: CheckedAnnotation) -> Iterator[Fault]:
    field = manifest.given(*path, checked.name)
    value = field.text if field is not None and field.is_known else None
    if field is not None and value is not None and not checked.takes(value):
        message = f"`{checked.name}: {value}` is not a value that Kaito's webhook takes; it refuses the Workspace"
        yield Fault(field.value, message, help=f"use one of {', '.join(checked.values)}")
