"""A field that only some releases of Trainer know."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.plan_objects import RUNTIME, RUNTIMES, TRAIN_JOB

CODE = "KT813"
NAME = "version-bound-field"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"

FIELDS = {
    (TRAIN_JOB, "spec", "podSpecOverrides"): "2.0",
    (TRAIN_JOB, "spec", "podTemplateOverrides"): "2.1",
    (TRAIN_JOB, "spec", "runtimePatches"): "2.2 and later",
    (TRAIN_JOB, "spec", "activeDeadlineSeconds"): "2.2 and later",
    (TRAIN_JOB, "spec", "labels"): "2.0 and 2.1",
    (TRAIN_JOB, "spec", "annotations"): "2.0 and 2.1",
    (RUNTIME, "spec", "mlPolicy", "torch", "numProcPerNode"): "2.0 and 2.1",
    (RUNTIME, "spec", "mlPolicy", "torch", "elasticPolicy"): "2.0 and 2.1",
    (RUNTIME, "spec", "mlPolicy", "torch", "envInjection"): "2.3 and later",
    (RUNTIME, "spec", "podGroupPolicy", "volcano"): "2.1 and later",
    (RUNTIME, "spec", "template", "spec", "volumeClaimPolicies"): "2.2 and later",
}
"""Fields by kind and path, with the releases whose CRD has them."""


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield each field that not every release knows."""
    objects = [run.manifest, *([run.pods_of] if run.pods_of not in (None, run.manifest) else [])]
    for (kind, *path), releases in FIELDS.items():
        for manifest in objects:
            stated = manifest.given(*path) if manifest is not None and _kind_of(manifest) == kind else None
            if stated is not None:
                yield Fault(
                    stated.key,
                    f"only Trainer {releases} knows `{path[-1]}`; other releases silently drop it, or refuse it",
                    help="write it into the pod template of the TrainingRuntime, which every release reads"
                    if kind == TRAIN_JOB
                    else "remove it, so that every release runs the same",
                )


def _kind_of(manifest: Manifest) -> str:
    """Return the kind in `FIELDS`: both kinds of runtimes have the same fields."""
    return RUNTIME if manifest.ref.kind in RUNTIMES else manifest.ref.kind
