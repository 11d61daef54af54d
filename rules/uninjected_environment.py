"""Pods that do not know which of several nodes they are."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun, training_group
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import ANCESTOR_LABEL, JOB_SET, RUNTIMES

CODE = "KT807"
NAME = "uninjected-environment"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_ALONE = "each pod trains alone"
_VARIABLES = ("PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR")


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield a runtime that Trainer does not inject `PET_*` into, and a JobSet of several nodes without it."""
    pods_of, group = run.pods_of, training_group(run)
    if pods_of is None or group is None:
        return
    if pods_of.ref.kind in RUNTIMES:
        if pods_of.given("spec", "mlPolicy", "torch") is None:
            yield Fault(
                pods_of.place,
                f"without `mlPolicy.torch` Trainer injects no `PET_*`: {_ALONE}",
                help="write `mlPolicy: {numNodes: 1, torch: {}}` under `spec`",
            )
        elif group.holder.text("template", "metadata", "labels", ANCESTOR_LABEL) != "trainer":
            named = group.holder.field("name")
            yield Fault(
                named.value if named is not None else pods_of.place,
                f"Trainer does not find the pods that train: it injects no `PET_*` and ignores `numNodes`: {_ALONE}",
                help=f"give `template.metadata.labels` the label `{ANCESTOR_LABEL}: trainer`",
            )
    elif run.kind == JOB_SET and run.may_have_peers:
        missing = [name for name in _VARIABLES if not group.has_variable(name)]
        if missing:
            yield Fault(
                run.world.place,
                f"{run.world.num_nodes} nodes without {', '.join(missing)}: {_ALONE}, and all write into one folder",
                help="emit the manifests again with `kaitoc compile --emit jobset`",
            )
