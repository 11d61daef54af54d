"""A TrainJob that names a runtime of another kind than the one next to it."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import CLUSTER_RUNTIME, RUNTIMES, TRAIN_JOB

CODE = "KT817"
NAME = "mismatched-runtime"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield a reference, or what it leaves to its default, that does not lead to the runtime of the name it states."""
    runtime = run.pods_of
    if run.kind != TRAIN_JOB or runtime is None or runtime.ref.kind not in RUNTIMES:
        return
    name, stated = (run.manifest.given("spec", "runtimeRef", key) for key in ("name", "kind"))
    kind = CLUSTER_RUNTIME if stated is None else stated.text
    if name is None or kind == runtime.ref.kind:
        return
    default = " where it states no kind" if stated is None else ""
    yield Fault(
        name.value if stated is None else stated.value,
        f"`runtimeRef` means a {kind}{default}, but `{name.text}` is a {runtime.ref.kind}, which is not found",
        help=f"write `kind: {runtime.ref.kind}`",
    )
