"""Put a ConfigMap before the Workspace that names it, so that the first `kubectl apply` of the file succeeds."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.document_order import late_config_maps, move_up
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.passes.model import Change, PassContext, Preserves

NAME = "order-documents"


def run(job: Job, _: PassContext) -> Iterator[Change]:
    """Yield the move of the ConfigMap's document."""
    workspace, config_map = job.workspace, job.config_map
    if workspace is None or config_map is None or workspace.source is not config_map.source:
        return
    file = read_manifests(workspace.source)
    for late in late_config_maps(file):
        if late.workspace.node.span != workspace.node.span:
            continue
        edits = move_up(late, file)
        field = workspace.field("tuning", "config")
        if edits and field is not None:
            reason = "the first kubectl apply refuses the Workspace if its ConfigMap comes after it"
            yield Change("order of documents", reason, Preserves.INTENT, field.value, edits,
                         "Workspace first", "ConfigMap first", "KT340")  # fmt: skip
