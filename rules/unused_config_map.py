"""A training config that no Workspace uses, next to a Workspace that could."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault, related
from kaitoc.compiler.job.job import Job

CODE = "KT108"
NAME = "unused-config-map"
SEVERITY = Severity.INFO
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a ConfigMap that nobody uses where a tuning Workspace stands in its file."""
    config_map = job.config_map
    if job.workspace is not None or config_map is None or not job.idle_workspaces or not config_map.ref.name:
        return
    workspace = job.idle_workspaces[0]
    used = workspace.text("tuning", "config")
    uses = f"uses `{used}`" if used else "uses Kaito's default template"
    yield Fault(
        config_map.place,
        f"no Workspace uses the ConfigMap `{config_map.ref.name}`, so it has no effect: `{workspace.ref.name}` {uses}",
        help=f"write `config: {config_map.ref.name}` under `tuning` of the Workspace that it is meant for",
        related=(related("this Workspace could use it", workspace.place),),
    )
