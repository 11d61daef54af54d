"""A container whose name the controller does not look for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun, training_group
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import NODE, PYTORCH_JOB, RUNTIMES, PodGroup

CODE = "KT809"
NAME = "misnamed-container"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield the first container of pods without the one that must be there."""
    pods_of = run.pods_of
    kind = pods_of.ref.kind if pods_of is not None else ""
    if kind in RUNTIMES:
        group = training_group(run)
        yield from _faults([group] if group is not None else [], NODE, "Trainer's webhook")
    elif kind == PYTORCH_JOB:
        yield from _faults(run.pod_groups, "pytorch", "the training operator")


def _faults(groups: Iterable[PodGroup], name: str, who: str) -> Iterator[Fault]:
    for group in groups:
        names = [container.given("name") for container in group.containers]
        first = names[0] if names else None
        if first is not None and all(found is None or found.text != name for found in names):
            yield Fault(
                first.value, f"no container is called `{name}`; {who} refuses that", help=f"write `name: {name}`"
            )
