"""A Workspace with both `inference` and `tuning`, or with neither."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault, related
from kaitoc.compiler.manifest.objects import ManifestFile

CODE = "KT305"
NAME = "ambiguous-workspace"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(file: ManifestFile) -> Iterator[Fault]:
    """Yield every Workspace that does not say which of the two it is."""
    for manifest in file.manifests:
        if not manifest.is_workspace or not manifest.is_served:
            continue
        inference, tuning = manifest.given("inference"), manifest.given("tuning")
        if inference is not None and tuning is not None:
            yield Fault(
                tuning.key,
                "a Workspace has either `inference` or `tuning`; Kaito's webhook refuses both",
                help="split it into two Workspaces",
                related=(related("`inference` is here", inference.key),),
            )
        elif inference is None and tuning is None:
            spec = manifest.given("spec")
            yield Fault(
                spec.key if spec is not None else manifest.place,
                "the Workspace has neither `inference` nor `tuning`; Kaito's webhook refuses it",
                help="both go at the top level, next to `resource`; there is no `spec`",
            )
