"""A `tuning.input` that does not name exactly one source."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.yaml.tree import Mapping
from kaitoc.rules._places import named_places

CODE = "KT313"
NAME = "ambiguous-input"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workspace = job.workspace
    if workspace is None:
        return
    field = workspace.field("tuning", "input")
    if field is None or not isinstance(field.node, Mapping):
        return
    sources = named_places(workspace, "input", ("urls", "image", "volumeSource"))
    if len(sources) == 1:
        return
    stated = f"names {len(sources)} places, {join_names(sources)}" if sources else "names no place"
    yield Fault(
        field.key,
        f"`tuning.input` {stated}; Kaito's webhook requires exactly one",
        help="keep one of `urls`, `image` and `volumeSource`",
    )
