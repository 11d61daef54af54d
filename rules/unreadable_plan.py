"""A ConfigMap of a run without a plan that the runtime reads."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.recognition import PLAN_KEY

CODE = "KT802"
NAME = "unreadable-plan"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield why the runtime refuses the plan."""
    if run.config_map is None or not run.plan_problem:
        return
    stated = run.config_map.field("data", PLAN_KEY)
    yield Fault(
        stated.key if stated is not None else run.config_map.place,
        f"the runtime refuses this plan (exit code 2): {run.plan_problem}",
        help="write it with `kaitoc compile --emit`",
    )
