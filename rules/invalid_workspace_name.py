"""The name of a Workspace, InferenceSet or MultiRoleInference that is not a DNS label."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.formats import MAX_LABEL, is_dns_label
from kaitoc.compiler.manifest.object_schemas import SERVING_KINDS
from kaitoc.compiler.manifest.objects import Manifest

CODE = "KT304"
NAME = "invalid-workspace-name"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(manifest: Manifest, _: Release) -> Iterator[Fault]:
    """Yield a name that the webhook refuses, of a Workspace or of what makes Workspaces."""
    name, kind = manifest.ref.name, manifest.ref.kind
    if not (manifest.is_workspace or (manifest.is_kaitos and kind in SERVING_KINDS)) or is_dns_label(name):
        return
    help_text = f"use at most {MAX_LABEL} lower-case letters, digits and hyphens, with a letter or digit at both ends"
    yield Fault(manifest.place, f"`{name}` is not a DNS label; Kaito's webhook refuses the {kind}", help=help_text)
