"""A ConfigMap with a plan that is not among the given manifests."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault

CODE = "KT803"
NAME = "missing-plan"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield the name of a ConfigMap that is nowhere to be found."""
    field = run.missing_plan
    if field is None:
        return
    yield Fault(
        field.value,
        f"the ConfigMap `{field.text}` is not in this file, its folder or the given paths, so the plan was not checked",
        help="pass the file that holds it too; without it in the cluster the pods never start",
    )
