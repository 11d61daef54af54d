"""Pods that restart by themselves under a `podFailurePolicy`."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault

CODE = "KT811"
NAME = "refused-restart-policy"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield a restart policy other than `Never`, which is what JobSet sets where there is none, too."""
    for group in run.pod_groups:
        policy = group.job.given("podFailurePolicy") if group.job is not None else None
        if policy is None:
            continue
        stated = group.pod.given("restartPolicy")
        if stated is None or stated.text != "Never":
            what = (
                f"`restartPolicy: {stated.text}`"
                if stated is not None
                else "`restartPolicy` left to JobSet (OnFailure)"
            )
            yield Fault(
                stated.value if stated is not None else policy.key,
                f"{what} is incompatible with `podFailurePolicy`: no Job is created, and only the event "
                "`JobCreationFailed` says so",
                help="write `restartPolicy: Never` in the pod's `spec`",
            )
