"""A lost pod that is replaced alone, although all nodes must restart."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import number

CODE = "KT815"
NAME = "replaced-node"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield a Job of several nodes that replaces a failed pod by itself, as Kubernetes does six times by default."""
    num_nodes = run.world.num_nodes
    if num_nodes is None or num_nodes < 2:
        return
    for group in run.pod_groups:
        job = group.job
        limit = job.given("backoffLimit") if job is not None else None
        if job is None or (limit is not None and number(limit) in (0, None)):
            continue
        named = group.holder.given("name")
        place = limit.value if limit is not None else named.value if named is not None else group.holder.place
        yield Fault(
            place,
            "a failed pod is replaced alone, but the others do not let it rejoin: all wait until they fail",
            help="set `backoffLimit: 0`, and `failurePolicy.maxRestarts`, which restarts all nodes",
        )
