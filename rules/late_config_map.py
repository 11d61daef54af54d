"""A ConfigMap that comes after the Workspace that names it, in one file."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault, related
from kaitoc.compiler.manifest.document_order import late_config_maps, move_up
from kaitoc.compiler.manifest.objects import ManifestFile
from kaitoc.compiler.yaml.placeholders import template_action

CODE = "KT340"
NAME = "late-config-map"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(file: ManifestFile) -> Iterator[Fault]:
    """Yield a Workspace that `kubectl apply` creates before the ConfigMap that it names."""
    if template_action(file.source.text) is not None:
        return  # Helm orders what it renders by kind
    for late in late_config_maps(file):
        field = late.workspace.field("tuning", "config")
        if field is None:
            continue
        edits = move_up(late, file)
        yield Fault(
            field.value,
            f"the ConfigMap `{late.config_map.ref.name}` comes after the Workspace: the first `kubectl apply -f` of "
            "this file creates only the ConfigMap, because Kaito's webhook looks for it before it exists",
            help="put the ConfigMap first; a second apply would succeed, and Helm and Argo CD order objects by kind",
            related=(related("the ConfigMap is here", late.config_map.place),),
            fix=Fix("Move the ConfigMap before the Workspace", Applicability.SAFE, edits) if edits else None,
        )
