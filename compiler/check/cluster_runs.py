"""From manifests to runs of a plan on a cluster: a TrainJob to its runtime, pods to the plan that they mount."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.job.cluster_run import ClusterRun, PlanFacts
from kaitoc.compiler.job.faults import ClusterRule, known_faults, to_finding
from kaitoc.compiler.job.job import Assumptions
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.manifest.objects import Field, Manifest, ManifestFile
from kaitoc.compiler.manifest.plan_objects import (
    CLUSTER_RUNTIME,
    RUNTIMES,
    TRAIN_JOB,
    holds_plan,
    plan_name,
    runs_plan,
)
from kaitoc.compiler.manifest.recognition import PLAN_KEY
from kaitoc.compiler.plan.memory import shared_footprint
from kaitoc.compiler.plan.plan import PlanError, read_plan
from kaitoc.compiler.yaml.placeholders import UnknownValueError


def check_cluster_runs(
    file: ManifestFile, library: Library, assumptions: Assumptions, rules: Sequence[ClusterRule]
) -> tuple[int, list[Finding]]:
    """Check the runs that a file defines; returns their number and the findings."""
    runs = list(cluster_runs_in(file, library, assumptions))
    found = [to_finding(rule, fault) for run in runs for rule in rules for fault in known_faults(rule, run)]
    return len(runs), found


def cluster_runs_in(file: ManifestFile, library: Library, assumptions: Assumptions) -> Iterator[ClusterRun]:
    """Yield the runs that a file brings in; a runtime is part of the run of the TrainJob that names it."""
    if library.is_patch(file.source.path):
        return
    used: set[int] = set()
    others = []
    for manifest in file.manifests:
        if holds_plan(manifest):
            yield _run(manifest, None, manifest, assumptions)
        elif not runs_plan(manifest):
            continue
        elif manifest.ref.kind == TRAIN_JOB:
            runtime = _runtime_of(manifest, file)
            used.add(id(runtime))
            yield _run_of(manifest, runtime, library, assumptions)
        else:
            others.append(manifest)
    for manifest in others:
        if id(manifest) not in used:
            yield _run_of(manifest, manifest, library, assumptions)


def _runtime_of(train_job: Manifest, file: ManifestFile) -> Manifest | None:
    """Return the runtime beside a TrainJob that has the name it states, before all the one of the kind it states.

    One that it does not mean is what it should mean, which a rule says.
    """
    name = train_job.written_text("spec", "runtimeRef", "name")
    kind = train_job.written_text("spec", "runtimeRef", "kind") or CLUSTER_RUNTIME
    named = [
        manifest
        for manifest in file.manifests
        if manifest.ref.kind in RUNTIMES
        and manifest.ref.name == name
        and manifest.ref.namespace in ("", train_job.ref.namespace)
    ]
    return next((manifest for manifest in named if manifest.ref.kind == kind), named[0] if named else None)


def _run_of(manifest: Manifest, pods_of: Manifest | None, library: Library, assumptions: Assumptions) -> ClusterRun:
    try:
        named = plan_name(pods_of or manifest)
        name = named.text if named is not None else None
    except UnknownValueError:
        named = name = None
    config_map = library.config_map(name, manifest) if name else None
    # Without its runtime, what plan a TrainJob has is a guess.
    is_known = pods_of is not None and manifest.ref.kind != CLUSTER_RUNTIME  # whose plan is in its users' namespace
    is_missing = is_known and bool(name) and config_map is None and not library.has_unnamed(manifest)
    return _run(manifest, pods_of, config_map, assumptions, missing_plan=named if is_missing else None)


def _run(
    manifest: Manifest,
    pods_of: Manifest | None,
    config_map: Manifest | None,
    assumptions: Assumptions,
    missing_plan: Field | None = None,
) -> ClusterRun:
    plan, problem = _plan_in(config_map) if config_map is not None else (None, "")
    return ClusterRun(manifest, pods_of, config_map, missing_plan, plan, problem, assumptions)


def _plan_in(config_map: Manifest) -> tuple[PlanFacts | None, str]:
    """Read a ConfigMap's plan, or the reason the runtime refuses it; neither for a text that is not known yet."""
    text = config_map.known_text("data", PLAN_KEY)
    if text is None:
        return None, ""
    if not text:
        return None, f"it has no `{PLAN_KEY}`"
    try:
        plan = read_plan(text, PLAN_KEY)
    except PlanError as error:
        return None, str(error)
    return PlanFacts(plan.num_processes, plan.output.path, partial(shared_footprint, plan)), ""
