"""An object whose `apiVersion` or `kind` no cluster with Kaito serves."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.releases import newest_release
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.kinds import KindFault, kind_fault
from kaitoc.compiler.manifest.object_schemas import served_kinds
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile

CODE = "KT106"
NAME = "unserved-kind"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(file: ManifestFile) -> Iterator[Fault]:
    """Yield every object of Kaito's, or shaped like one, that the API server knows no kind for."""
    for manifest in file.manifests:
        fault = kind_fault(manifest)
        if fault is not None:
            yield _fault(manifest, fault)


def _fault(manifest: Manifest, fault: KindFault) -> Fault:
    place = (manifest.field(fault.key) or manifest.field("kind") or manifest.field("apiVersion"))  # fmt: skip
    at = place.value if place is not None else manifest.place
    written = manifest.text(fault.key)
    if not written:
        return Fault(at, f"the object has no `{fault.key}`; `kubectl apply` refuses it",
                     help=f"write `{fault.key}: {fault.expected}`")  # fmt: skip
    versions = join_names([version for version in served_kinds() if fault.kind in served_kinds()[version]] or ["v1"])
    if fault.key == "apiVersion":
        message = f"there is no {fault.kind} in `{written}`, only in {versions}; the API server refuses the object"
        newer = f"; a Kaito newer than {newest_release().name} needs a newer kaitoc" if fault.is_of_kaito else ""
        return Fault(at, message, help=f"write `apiVersion: {fault.expected}`{newer}")
    message = f"`{manifest.api_version}` has no kind `{written}`; the API server refuses the object"
    return Fault(at, message, help=f"write `kind: {fault.expected}`" if fault.expected else "")
