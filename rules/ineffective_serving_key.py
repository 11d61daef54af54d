"""A key that changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.releases import serving_traits
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.memory.serving.models import shape_of

CODE = "KT723"
NAME = "ineffective-serving-key"
SEVERITY = Severity.INFO
FIX = None
SINCE = "0.1.0"

_BY_LAUNCHER = {
    "headless": "Kaito starts the server itself",
    "api-server-count": "Kaito starts one server itself",
    "grpc": "Kaito starts the HTTP server itself",
}
_LORA = ("max-lora-rank", "max-loras", "max-cpu-loras", "lora-dtype", "fully-sharded-loras")
_OFFLOAD, _PROBE = "kv_cache_cpu_memory_utilization", "max_probe_steps"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield keys without an effect: of probing that is gone, of adapters that are not there, of other launchers."""
    if not job.uses_vllm or job.config is None:
        return
    for name, served in job.parsed.values.items():
        if served.index < 0:
            continue
        option = job.option_at(served.index)
        if name in _BY_LAUNCHER:
            yield Fault(option.key, f"`{option.name}` has no effect: {_BY_LAUNCHER[name]}")
        elif name in _LORA and "enable-lora" not in job.parsed.values and job.view is not None:
            yield Fault(option.key, f"`{option.name}` has no effect: there are no adapters")
    yield from _unnamed(job)
    probe, share = job.config.section(_PROBE), job.config.section(_OFFLOAD)
    if probe is not None:
        yield Fault(probe.key, f"`{_PROBE}` has had no effect since Kaito v0.8", help="remove it")
    why = _why_not_offloaded(job) if share is not None else ""
    if share is not None and why:
        yield Fault(share.key, f"`{_OFFLOAD}` has no effect: Kaito turns offloading off {why}")


def _unnamed(job: ServingJob) -> Iterator[Fault]:
    """Yield a key that is no option and no fault: its words end as the name of a model, which Kaito ignores."""
    for index in job.parsed.stray[:1]:
        if index >= 0 and index not in job.parsed.options and all(one.index != index for one in job.parsed.problems):
            option = job.option_at(index)
            yield Fault(option.key, f"`{option.name}` has no effect: it is not an option of vLLM {job.table.vllm}")


def _why_not_offloaded(job: ServingJob) -> str:
    """Say for what the controller overrides the share with 0, empty where it does not."""
    if job.is_data_parallel and (job.num_gpus or 1) > 1:
        return "where each GPU runs a replica"
    model_type = shape_of(job.served).model_type if job.served is not None else ""
    if model_type in serving_traits(job.release)["no_offload_types"]:
        return f"for {model_type} models"
    resource = job.view.resource if job.view is not None else None
    if resource is not None and resource.given("partition", "profile") is not None:
        return "on a slice of a GPU"
    nodes = job.kaito_nodes
    return "on several nodes" if nodes is not None and (nodes.num_nodes or 1) > 1 else ""
