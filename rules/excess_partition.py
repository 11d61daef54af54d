"""A partition of more GPUs than a node has, or a slice too small for the model."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_nodes import kaito_token_bytes
from kaitoc.compiler.kaito.controller_arguments import controller_does
from kaitoc.compiler.kaito.node_estimate import estimate_slice, scanned_length
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.memory.serving.models import shape_of
from kaitoc.compiler.memory.serving.weights import files_bytes

CODE = "KT747"
NAME = "excess-partition"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a `partition.count` above the GPUs of a node, and a slice that is too small for the model.

    The webhook refuses a partition beside an instance type, so `--gpu INSTANCE` says what the nodes have.
    """
    resource = job.view.resource if job.view is not None else None
    if resource is None:
        return
    yield from _of_count(job, resource)
    yield from _of_slice(job, resource)


def _of_count(job: ServingJob, resource: Manifest) -> Iterator[Fault]:
    count = resource.given("partition", "count")
    text = count.text if count is not None else None
    stated = job.assumptions.instance_type
    num_gpus = stated.num_gpus if stated is not None else job.num_gpus
    if num_gpus is None or count is None or text is None or not text.isdigit() or int(text) <= num_gpus:
        return
    message = f"`partition.count: {text}` exceeds the {num_gpus} GPUs of a node: Kaito starts no pod"
    yield Fault(count.value, message, help=f"write at most {num_gpus}")


def _of_slice(job: ServingJob, resource: Manifest) -> Iterator[Fault]:
    """Yield a slice for which Kaito's estimator needs a second one; the webhook compares the weights alone."""
    profile = resource.given("partition", "profile")
    if profile is None or job.served is None or not job.uses_vllm or not controller_does(job.release, "has_gpu_slices"):
        return
    model = shape_of(job.served)
    size = files_bytes(model)
    length = scanned_length(job.config_text)
    estimate = estimate_slice(job.release, profile.text or "", size, kaito_token_bytes(model), length)
    if estimate is None or estimate.num_nodes == 1:
        return
    message = (
        f"a slice `{profile.text}` is too small for {job.served.name}: its weights are {format_gib(size)}, Kaito "
        f"reserves {format_gib(estimate.reserved_bytes)} and may use {format_gib(estimate.available_bytes)}; it starts "
        "no pod"
    )
    yield Fault(profile.value, message, help="use a larger profile, or a smaller model")
