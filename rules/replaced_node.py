"""A lost pod that is replaced alone, although all nodes must restart."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun, training_group
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import number, parts

CODE = "KT815"
NAME = "replaced-node"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"

_ALONE = "is replaced alone, but the others do not let it rejoin: all wait until they fail"
_TOGETHER = "`failurePolicy.maxRestarts`, which restarts all nodes"


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield a Job of several nodes that replaces a failed pod by itself, as Kubernetes does six times by default."""
    num_nodes, group = run.world.num_nodes, training_group(run)
    if num_nodes is None or num_nodes < 2 or group is None or group.job is None:
        return
    limit = group.job.given("backoffLimit")
    if limit is None or number(limit) not in (0, None):
        named = group.holder.given("name")
        place = limit.value if limit is not None else named.value if named is not None else group.holder.place
        yield Fault(place, f"a failed pod {_ALONE}", help=f"set `backoffLimit: 0`, and {_TOGETHER}")
    for rule in parts(group.job, "podFailurePolicy", "rules"):
        action = rule.given("action")
        if action is not None and action.text == "Ignore":
            yield Fault(
                action.value, f"a pod that this rule ignores {_ALONE}", help=f"remove the rule, and set {_TOGETHER}"
            )
