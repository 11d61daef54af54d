"""A key that changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob

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
    probe, share = job.config.section(_PROBE), job.config.section(_OFFLOAD)
    if probe is not None:
        yield Fault(probe.key, f"`{_PROBE}` has had no effect since Kaito v0.8", help="remove it")
    if share is not None and job.is_data_parallel and (job.num_gpus or 1) > 1:
        message = f"`{_OFFLOAD}` has no effect: Kaito turns offloading off where each GPU runs a replica"
        yield Fault(share.key, message)
