"""A launcher around the runtime that replaces its exit codes by 1."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import parts

CODE = "KT818"
NAME = "hidden-exit-code"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"

_LAUNCHERS = frozenset({"torchrun", "accelerate", "torch.distributed.run", "torch.distributed.launch"})


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield the launcher in the command of pods whose `podFailurePolicy` asks for exit codes."""
    for group in run.pod_groups:
        rules = parts(group.job, "podFailurePolicy", "rules") if group.job is not None else ()
        if not any(rule.given("onExitCodes") is not None for rule in rules):
            continue
        for container in group.containers:
            words = [*container.fields("command"), *container.fields("args")]
            launcher = next((word for word in words if (word.text or "").rpartition("/")[2] in _LAUNCHERS), None)
            if launcher is not None:
                yield Fault(
                    launcher.value,
                    f"`{launcher.text}` exits with 1 whatever its processes exit with: `podFailurePolicy` never sees 2 "
                    "and 3, and a plan that cannot run is retried on all nodes",
                    help="write `command: [python, -m, kaitoc.runtime]`, which starts the processes itself",
                )
