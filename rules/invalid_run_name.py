"""A name from which no valid pod names can be made."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun, training_group
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import JOB_SET, NODE, PYTORCH_JOB, TRAIN_JOB, max_run_name_length

CODE = "KT804"
NAME = "invalid-run-name"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_MAX_LABEL = 63
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield a name that is too long for its pods or Services, or not a DNS label that begins with a letter."""
    if run.kind not in (TRAIN_JOB, JOB_SET, PYTORCH_JOB):
        return
    named = run.manifest.given("metadata", "name") or run.manifest.given("metadata", "generateName")
    if named is None or named.text is None:
        return
    is_generated = run.manifest.given("metadata", "name") is None
    name = f"{named.text}abcde" if is_generated else named.text
    if not _LABEL.fullmatch(name):
        yield Fault(
            named.value,
            f"`{name}` cannot be part of the host names of its pods, so it is refused",
            help="use lower-case letters, digits and `-`, starting with a letter",
        )
        return
    longest, limit, who = _longest(run)
    if len(name) > limit:
        yield Fault(
            named.value,
            f"the name has {len(name)} characters; {longest} in at most 63, so {who}",
            help=f"use at most {limit - len(name) + len(named.text)} characters",
        )


def _longest(run: ClusterRun) -> tuple[str, int, str]:
    """Describe the longest derived name, its limit, and the effect of exceeding it."""
    num_nodes = run.world.num_nodes or 1
    if run.kind == PYTORCH_JOB:
        replica = f"worker-{num_nodes - 2}" if num_nodes > 1 else "master-0"
        return (
            f"Services are called `{{name}}-{replica}`",
            _MAX_LABEL - len(f"-{replica}"),
            "the API server refuses them",
        )
    group = training_group(run)
    job = group.name if group is not None else NODE
    pods = f"pods are called `{{name}}-{job}-0-{num_nodes - 1}-abcde`"
    return pods, max_run_name_length(num_nodes, job), "JobSet refuses to create them"
