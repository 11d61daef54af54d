"""A key of a Workspace that Kaito's definition does not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.objects import Manifest, Place, escape_pointer
from kaitoc.compiler.manifest.workspace_schema import workspace_properties
from kaitoc.compiler.yaml.tree import Mapping, Node

CODE = "KT105"
NAME = "unknown-workspace-key"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a key of the Workspace that the API server drops."""
    if job.workspace is not None:
        yield from _unknown_below(job.workspace, job.workspace.pointer, job.workspace.node, workspace_properties())


def _unknown_below(manifest: Manifest, pointer: str, node: Node, known: dict[str, Any]) -> Iterator[Fault]:
    """Yield the unknown keys as they count: not `<<` itself, and of a key that is written twice the last."""
    if not isinstance(node, Mapping):
        return
    for name in dict.fromkeys(entry.name for entry in node.entries):
        entry = node.get(name)
        if entry is None:
            continue
        here = f"{pointer}/{escape_pointer(name)}"
        if name not in known:
            yield _fault(Place(manifest.source, entry.key.span, here, manifest.ref), name, known)
        elif known[name].get("additionalProperties") is False:
            yield from _unknown_below(manifest, here, entry.value, known[name]["properties"])


def _fault(place: Place, name: str, known: dict[str, Any]) -> Fault:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return Fault(
        place,
        f"a Workspace has no key `{name}` here; the API server drops it, so it has no effect",
        help=f"did you mean `{close[0]}`?" if close else f"the keys are {', '.join(known)}",
    )
