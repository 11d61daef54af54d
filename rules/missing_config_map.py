"""A Workspace whose ConfigMap is not among the manifests at hand."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job

CODE = "KT301"
NAME = "missing-config-map"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when `tuning.config` names a ConfigMap that is nowhere to be found."""
    if job.workspace is None or job.config_map is not None:
        return
    field = job.workspace.field("tuning", "config")
    if field is None or not field.text:
        return
    namespace = job.workspace.ref.namespace
    where = f" in namespace `{namespace}`" if namespace else ""
    yield Fault(
        field.value,
        f"the ConfigMap `{field.text}`{where} is not in this file, its folder or the given paths, "
        "so the configuration was not checked",
        help="pass the file that holds it too; Kaito refuses the Workspace if the cluster does not have it either",
    )
