"""A `tuning.output` that does not name exactly one destination."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.yaml.tree import Mapping
from kaitoc.rules._places import named_places

CODE = "KT314"
NAME = "ambiguous-output"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workspace = job.workspace
    if workspace is None:
        return
    field = workspace.field("tuning", "output")
    if field is None or not isinstance(field.node, Mapping):
        return
    destinations = named_places(workspace, "output", ("image", "volumeSource"))
    if len(destinations) == 1:
        return
    stated = f"names {len(destinations)} places, {join_names(destinations)}" if destinations else "names no place"
    yield Fault(
        field.key,
        f"`tuning.output` {stated}; Kaito's webhook requires exactly one",
        help="name an `image`, with `imagePushSecret`, or a `volumeSource`",
    )
