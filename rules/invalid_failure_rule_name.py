"""A name in a failure rule that JobSet refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.objects import Field
from kaitoc.compiler.manifest.plan_objects import job_set_of, parts

CODE = "KT812"
NAME = "invalid-failure-rule-name"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
_MAX_LENGTH = 128
_REASONS = ("BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "MaxFailedIndexesExceeded", "PodFailurePolicy")


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield each rule of `failurePolicy` whose name JobSet refuses, and what it names that is not there."""
    job_set = job_set_of(run.pods_of) if run.pods_of is not None else None
    if job_set is None:
        return
    seen: set[str] = set()
    jobs = [job.text("name") for job in parts(job_set, "replicatedJobs")]
    for rule in parts(job_set, "failurePolicy", "rules"):
        named = rule.given("name")
        text = named.text if named is not None else None
        if named is not None and text:
            if not _NAME.fullmatch(text) or len(text) > _MAX_LENGTH:
                yield _fault(named, f"the name `{text}`", "use letters, digits and `_`, such as `noRetry`")
            elif text in seen:
                yield _fault(named, f"two rules called `{text}`", "give each rule a name of its own")
            seen.add(text)
        for job in rule.fields("targetReplicatedJobs"):
            if job.text and job.text not in jobs:
                yield _fault(job, f"`{job.text}`, which is not a replicated job,", f"name one of {join_names(jobs)}")
        for reason in rule.fields("onJobFailureReasons"):
            if reason.text and reason.text not in _REASONS:
                yield _fault(reason, f"the reason `{reason.text}`", f"use one of {join_names(_REASONS)}")


def _fault(field: Field, what: str, help_text: str) -> Fault:
    message = f"JobSet refuses {what} when it creates the pods; only an event reports it"
    return Fault(field.value, message, help=help_text)
