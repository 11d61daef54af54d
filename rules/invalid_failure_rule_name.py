"""A name of a failure rule that JobSet refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.plan_objects import job_set_of, parts

CODE = "KT812"
NAME = "invalid-failure-rule-name"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
_MAX_LENGTH = 128


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield each rule of `failurePolicy` whose name JobSet refuses."""
    job_set = job_set_of(run.pods_of) if run.pods_of is not None else None
    for rule in parts(job_set, "failurePolicy", "rules") if job_set is not None else ():
        named = rule.given("name")
        text = named.text if named is not None else None
        if named is None or not text or (_NAME.fullmatch(text) and len(text) <= _MAX_LENGTH):
            continue
        yield Fault(
            named.value,
            f"JobSet refuses the name `{text}` when it creates the pods; only an event reports it",
            help="use letters, digits and `_`, such as `noRetry`",
        )
