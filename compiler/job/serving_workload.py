"""From a server's effective values to the workload that the memory engine is asked about."""

from __future__ import annotations

from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.catalog.releases import serving_traits
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_parser import ServingParse
from kaitoc.compiler.memory.serving.encoders import takes_items
from kaitoc.compiler.memory.serving.read_speculation import read_speculation
from kaitoc.compiler.memory.serving.shape import ServedModel
from kaitoc.compiler.memory.serving.speculation import Speculation
from kaitoc.compiler.memory.serving.weights import FORMATS_BY_METHOD, format_of
from kaitoc.compiler.memory.serving.workload import LoraSlots, ServingWorkload, WeightFormat

_LARGEST = 1e12
"""More than any option can mean; neither infinity nor NaN is below it."""
_OFFLOADED_SHARE = 0.5
"""The share of free host memory that the launcher gives LMCache where the config states none."""


class _Values:
    """The values that a server is started with, by option."""

    def __init__(self, parsed: ServingParse) -> None:
        self.parsed = parsed

    def get(self, name: str) -> object:
        served = self.parsed.values.get(name)
        return served.value if served is not None else None

    def integer(self, name: str) -> int | None:
        value = self.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def number(self, name: str, default: float) -> float:
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return default
        return float(value) if abs(value) < _LARGEST else default

    def text(self, name: str, default: str) -> str:
        value = self.get(name)
        return value if isinstance(value, str) and value else default


def workload_of(job: ServingJob, model: ServedModel, parsed: ServingParse | None = None) -> ServingWorkload:
    """Return a server's workload as it is started, or as `parsed` starts it; raises `UnknownValueError`."""
    values = _Values(parsed if parsed is not None else job.parsed)
    data_parallel = values.integer("data-parallel-size") or 1
    pipeline = values.integer("pipeline-parallel-size") or 1
    offloads = job.offloads and data_parallel == 1 and pipeline == 1
    offloads = offloads and model.model_type not in serving_traits(job.release)["no_offload_types"]
    release = job.assumptions.release
    base = ServingWorkload(
        model=model,
        vllm=release.vllm,
        tensor_parallel=values.integer("tensor-parallel-size") or 1,
        pipeline_parallel=pipeline,
        data_parallel=data_parallel,
        expert_parallel=values.get("enable-expert-parallel") is True,
        utilization=values.number("gpu-memory-utilization", 0.0) or default_utilization(job),
        max_length_tokens=_stated_length(values),
        max_sequences=values.integer("max-num-seqs"),
        max_batched_tokens=values.integer("max-num-batched-tokens"),
        kv_dtype=values.text("kv-cache-dtype", "auto"),
        weight_format=_format(model, values),
        eager=values.get("enforce-eager") is True,
        prefix_caching=values.get("enable-prefix-caching") is True,
        doubles_batch=values.text("performance-mode", "") == "throughput",
        lora=_slots(values),
        offloaded_share=_offloaded_share(job) if offloads else 0.0,
        weights_offload_bytes=int(values.number("cpu-offload-gb", 0.0) * GIB),
        kv_cache_bytes=values.integer("kv-cache-memory-bytes"),
        speculation=_speculation(model, values),
    )
    block = values.integer("block-size")
    return replace(
        base,
        profiles_encoder=_profiles_encoder(base, values),
        block_tokens=block or base.block_tokens,
        hybrid_manager=_keeps_hybrid_manager(job, base, values, offloads=offloads),
    )


def _speculation(model: ServedModel, values: _Values) -> Speculation | None:
    config = values.get("speculative-config")
    short = {"method": "spec-method", "model": "spec-model", "num_speculative_tokens": "spec-tokens"}
    stated = {key: value for key, name in short.items() if (value := values.get(name)) is not None}
    if not stated and not isinstance(config, dict):
        return None
    return read_speculation({**(config if isinstance(config, dict) else {}), **stated}, model)


def _profiles_encoder(workload: ServingWorkload, values: _Values) -> bool:
    """Return whether vLLM profiles encoding: unless it is told not to, or a prompt may have none of any kind."""
    if values.get("skip-mm-profiling") is True or values.get("language-model-only") is True:
        return False
    limits = values.get("limit-mm-per-prompt")
    return not isinstance(limits, dict) or takes_items(workload, limits)


def _stated_length(values: _Values) -> int | None:
    """Return `max-model-len`, None for `auto`, which -1 stands for, and where nothing states it."""
    length = values.integer("max-model-len")
    return length if length is not None and length > 0 else None


def default_utilization(job: ServingJob) -> float:
    """Return the share of a GPU that the release's vLLM takes where nobody says otherwise."""
    option = job.table.option("gpu-memory-utilization")
    return float(str(option.default)) if option is not None else 0.9


def _format(model: ServedModel, values: _Values) -> WeightFormat:
    """Resolve the weights' format: by `quantization` at load time, else as stored in the checkpoint."""
    asked = FORMATS_BY_METHOD.get(values.text("quantization", ""))
    if asked is not None and asked is not WeightFormat.BF16 and not model.quantization:
        return asked
    found = format_of(model)
    is_half = values.text("dtype", "auto") in ("float16", "half")
    return WeightFormat.FP16 if found is WeightFormat.BF16 and is_half else found


def _slots(values: _Values) -> LoraSlots | None:
    if values.get("enable-lora") is not True:
        return None
    default = LoraSlots()
    return LoraSlots(
        values.integer("max-loras") or default.max_loras,
        values.integer("max-lora-rank") or default.max_rank,
        is_fully_sharded=values.get("fully-sharded-loras") is True,
    )


def _keeps_hybrid_manager(job: ServingJob, workload: ServingWorkload, values: _Values, *, offloads: bool) -> bool:
    """Return whether vLLM's hybrid KV manager stays on: a connector that does not support it turns it off.

    LMCache's does not; that of roles, NIXL's, does since 0.22.
    """
    stated = values.get("disable-hybrid-kv-cache-manager")
    if isinstance(stated, bool):
        return not stated
    has_role = job.view is not None and job.view.role in ("prefill", "decode")
    if has_role and not workload.has(LibraryChange.HYBRID_CONNECTORS):
        return False
    return not offloads


def _offloaded_share(job: ServingJob) -> float:
    section = job.config.section("kv_cache_cpu_memory_utilization") if job.config is not None else None
    try:
        return float(getattr(section.node, "value", "")) if section is not None else _OFFLOADED_SHARE
    except ValueError:
        return _OFFLOADED_SHARE
