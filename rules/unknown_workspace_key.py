"""A key of a Workspace that Kaito's definition does not have."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.object_faults import object_errors, place_of
from kaitoc.compiler.manifest.objects import Manifest

CODE = "KT105"
NAME = "unknown-workspace-key"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(manifest: Manifest, release: Release) -> Iterator[Fault]:
    """Yield a key of a Workspace that strict validation refuses."""
    if not manifest.is_workspace:
        return
    for error in object_errors(manifest, release.name):
        if error.keyword == "unknown":
            name = str(error.path[-1])
            yield Fault(
                place_of(manifest, error),
                f"a Workspace of Kaito {release.name} has no key `{name}` here; `kubectl apply` refuses it",
                help=_help(name, error.known),
            )


def _help(name: str, known: tuple[str, ...]) -> str:
    from difflib import get_close_matches  # 5 ms, for a file with an unknown key

    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"the keys are {', '.join(known)}" if known else ""
