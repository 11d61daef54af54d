"""An instance type on which Kaito starts no server."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.instance_listing import is_admitted_unlisted
from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.rules._instances import unlisted, without_nvidia
from kaitoc.rules._server_admission import REFUSES

CODE = "KT714"
NAME = "unusable-instance-type"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a fault for an instance type that is not listed, or whose GPU is not NVIDIA's.

    A template brings its own resources: of its instance type the webhook alone is asked.
    """
    stated, release = job.instance_type, job.assumptions.release
    if stated is None or stated.place is None:
        return
    is_admitted = is_admitted_unlisted(stated.value, release)
    if is_admitted and job.preset is None:
        return
    fault = unlisted(stated.value, stated.place, release, _effect(job, is_admitted=is_admitted))
    instance = job.instance.value if job.instance is not None else None
    if fault is None and instance is not None and job.preset is not None:
        fault = without_nvidia(instance, stated.place, "its pod")
    if fault is not None:
        yield fault


def _effect(job: ServingJob, *, is_admitted: bool) -> str:
    if not is_admitted:
        return REFUSES
    if job.uses_vllm:
        return "the webhook takes it on Azure, but the controller does not know its GPUs and makes no node"
    return "the node is provisioned on Azure, but the controller does not know its GPUs and starts no server"
