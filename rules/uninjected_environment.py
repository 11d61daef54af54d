"""Pods that do not know which of several nodes they are."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun, replicas_of, training_group
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import ANCESTOR_LABEL, JOB_SET, RUNTIMES, PodGroup, number

CODE = "KT807"
NAME = "uninjected-environment"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_ALONE = "each pod trains alone"
_VARIABLES = ("PET_NNODES", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT")
_ANEW = "emit the manifests again with `kaitoc compile --emit`"
_POD_INDEX, _JOB_INDEX = "job-completion-index", "jobset.sigs.k8s.io/job-index"
"""What numbers the pods of a Job, and the Jobs of a replicated job, as the ends of their labels and annotations."""


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield a runtime that Trainer does not inject `PET_*` into, and several nodes that do not learn their number."""
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
        missing = [name for name in _VARIABLES if group.variable(name) is None]
        if missing:
            effect = f"{_ALONE}, and all write into one folder" if "PET_NNODES" in missing else (
                "no pod finds the others, and each stops (exit code 2)"
            )  # fmt: skip
            yield Fault(
                run.world.place,
                f"{run.world.num_nodes or 'several'} nodes without {', '.join(missing)}: {effect}",
                help=f"{_ANEW} jobset",
            )
        yield from _same_rank(group)
    if run.may_have_peers:
        yield from _unnumbered(group)


def _unnumbered(group: PodGroup) -> Iterator[Fault]:
    mode = group.job.given("completionMode") if group.job is not None else None
    if mode is not None and mode.text != "Indexed":
        yield Fault(
            mode.value,
            "pods of such a Job have no index, so no node learns which one it is; they cannot connect",
            help="write `completionMode: Indexed`, or leave it out: it is JobSet's default",
        )


def _same_rank(group: PodGroup) -> Iterator[Fault]:
    """Yield a number of the node that all nodes, or those of each Job, have in common."""
    variable = group.variable("PET_NODE_RANK")
    if variable is None:
        return
    value = variable.given("value")
    if value is not None and value.is_known:
        yield Fault(
            value.value,
            f"every pod is told that it is node {value.text}: the nodes cannot connect",
            help=f"{_ANEW} jobset",
        )
    source = variable.given("valueFrom", "fieldRef", "fieldPath")
    replicas, stated = replicas_of(group), group.job.given("completions") if group.job is not None else None
    pods = number(stated) if stated is not None else 1
    if source is None or source.text is None or replicas is None or pods is None:
        return
    path = source.text.removesuffix("']")
    if not path.startswith(("metadata.annotations['", "metadata.labels['")):
        message = f"`{source.text}` is not a number: no pod learns which node it is, and each stops (exit code 2)"
    elif replicas > 1 and path.endswith(_POD_INDEX):
        message = f"the pods of each of the {replicas} Jobs count from 0, so several take themselves for the same node"
    elif pods > 1 and path.endswith(_JOB_INDEX):
        message = f"the {pods} pods of a Job have its number in common, so all take themselves for the same node"
    else:
        return
    yield Fault(source.value, message, help=f"{_ANEW} jobset, which numbers the pods of one Job")
