"""The JSON report, version 1, as types; `schemas/report.json` is generated from them.

Lines and columns are 1-based and columns count characters, offsets count characters of the decoded text, and the end
of a span is exclusive. Memory is in bytes.
"""

from __future__ import annotations

from typing import Literal

from kaitoc.compiler.core.records import dataclass


@dataclass(frozen=True, slots=True)
class JsonPosition:
    """A place in a file."""

    line: int
    column: int
    offset: int


@dataclass(frozen=True, slots=True)
class JsonSpan:
    """A half-open range of characters."""

    start: JsonPosition
    end: JsonPosition


@dataclass(frozen=True, slots=True)
class JsonObject:
    """The Kubernetes object a finding belongs to; the namespace is empty where the manifest names none."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class JsonRelated:
    """Another place that explains the finding."""

    message: str
    file: str
    span: JsonSpan


@dataclass(frozen=True, slots=True)
class JsonEdit:
    """Replace the text under the span."""

    file: str
    span: JsonSpan
    replacement: str


@dataclass(frozen=True, slots=True)
class JsonFix:
    """Edits that remove the finding, to be applied together."""

    title: str
    applicability: Literal["safe", "unsafe", "display"]
    edits: list[JsonEdit]


@dataclass(frozen=True, slots=True)
class JsonFinding:
    """One fault at one place; `pointer` is an RFC 6901 pointer into the object and on into the inner document."""

    code: str
    name: str
    severity: Literal["error", "warning", "info"]
    message: str
    file: str
    span: JsonSpan
    pointer: str
    object: JsonObject | None
    help: str
    url: str
    related: list[JsonRelated]
    fix: JsonFix | None


@dataclass(frozen=True, slots=True)
class JsonFootprint:
    """Bytes at the peak, by what they are for."""

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    workspace: int
    fragmentation: int
    context: int


@dataclass(frozen=True, slots=True)
class JsonPeakBytes:
    """Allocated as PyTorch counts it, reserved by its allocator, and the device's total."""

    allocated: int
    reserved: int
    device: int


@dataclass(frozen=True, slots=True)
class JsonPhaseBytes:
    """The allocated peaks of one process by phase; null for a phase that is not looked at."""

    load: int | None
    forward: int | None
    loss: int | None
    backward: int | None
    optimizer: int | None
    save: int | None


@dataclass(frozen=True, slots=True)
class JsonSharding:
    """How the GPUs of a job share its model; `shard_group` of them hold one copy together."""

    kind: Literal["ddp", "fsdp2", "fsdp1", "zero3"]
    num_gpus: int
    num_nodes: int
    shard_group: int
    reshard_after_forward: bool
    offload: Literal["none", "optimizer", "parameters"]


@dataclass(frozen=True, slots=True)
class JsonInterval:
    """Between which sizes the device total lies."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class JsonAlternative:
    """Another way of drawing or allocating batches, and the most that is reserved then, in bytes."""

    change: str
    reserved: int


@dataclass(frozen=True, slots=True)
class JsonLengths:
    """What batches of different lengths take, in bytes: intervals over orders of the data.

    `p50`, `p90` and `max` are tokens per row, `reserved` is without a limit. `fits` is whether the GPU holds it once
    unused memory has gone back to it, `retries` how often that was necessary; null for an unknown GPU.
    """

    p50: int
    p90: int
    max: int
    batching: Literal["random", "grouped", "packed"]
    batches: int
    allocated: JsonInterval
    reserved: JsonInterval
    fits: bool | None
    retries: int | None
    alternatives: list[JsonAlternative]


@dataclass(frozen=True, slots=True)
class JsonConcurrency:
    """How many requests of a length are served at once, by all replicas together."""

    tokens: int
    requests: float


@dataclass(frozen=True, slots=True)
class JsonRankBytes:
    """What one GPU holds: weights, slots for adapters, the peak of the profiling run, CUDA graphs.

    `drafter` is what drafts tokens for speculative decoding, as far as its size is known. `graphs` come off the KV
    cache where `counts_graphs`; `requested` is what vLLM may take, `kv_cache` what is left.
    """

    weights: int
    drafter: int
    adapters: int
    profiling_peak: int
    graphs: int
    counts_graphs: bool
    requested: int
    kv_cache: int


@dataclass(frozen=True, slots=True)
class JsonServing:
    """What a server needs and what it can hold.

    `context` is the length that is served, 0 where the server does not start for the reason in `fault`;
    `longest_context` the longest that its KV cache holds, `needed_bytes` what a request of the context asked for takes
    on one GPU. `kv_tokens` is the capacity of one replica, `logged_kv_tokens` what its vLLM logs. `nodes` are those
    that Kaito starts, `needed_nodes` the fewest on which it fits; `host_share` is LMCache's share of the free memory.
    `uncounted` says in words what else may take memory.
    """

    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    rank_bytes: JsonRankBytes
    kv_cache_interval_bytes: JsonInterval
    kv_tokens: int
    logged_kv_tokens: int
    context: int
    longest_context: int
    needed_bytes: int
    concurrency: list[JsonConcurrency]
    nodes: int
    needed_nodes: int | None
    kaito_nodes: int | None
    host_share: float
    uncounted: list[str]
    fault: Literal["utilization", "no cache", "length"] | None
    solved: str | None


@dataclass(frozen=True, slots=True)
class JsonRates:
    """Tokens per second between which the predicted ones lie."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class JsonEpoch:
    """The time and the cost of one pass over the samples; `usd` is null where no price is stated.

    `tokens_per_second` are those of all GPUs; `assumptions` say what of the links between them is not known.
    """

    samples: int
    tokens_per_second: float
    tokens_per_second_interval: JsonRates
    assumptions: list[str]
    hours: float
    usd: float | None


@dataclass(frozen=True, slots=True)
class JsonSolved:
    """The largest value of a size with which the run fits; 0 where it fits with none."""

    size: Literal["batch", "seq-len", "rank"]
    value: int


@dataclass(frozen=True, slots=True)
class JsonSweepPoint:
    """What the run needs at one value of the size."""

    value: int
    peak_bytes: JsonPeakBytes
    interval_bytes: JsonInterval
    verdict: Literal["fits", "tight", "does-not-fit"] | None


@dataclass(frozen=True, slots=True)
class JsonSwept:
    """What the run needs at several values of a size, in ascending order."""

    size: Literal["batch", "seq-len", "rank"]
    points: list[JsonSweepPoint]


@dataclass(frozen=True, slots=True)
class JsonJob:
    """One tuning run and what it needs on one GPU, or one server (`method` "serve"); null where that is unknown.

    `batch` counts pairs where the `task` is `dpo`. `margin` is the share of the GPU's memory to keep free; `fits` is
    true for the verdicts `fits` and `tight`. Of a server, `seq_len` is the context, `batch` the sequences of a step,
    and `margin` the share by which what is beside the KV cache may exceed its estimate.

    `host_bytes` is what the processes of one node hold outside of GPUs, null where only the trace tells the memory and
    for servers. `sharding` is null for one GPU, `lengths` where those of the data were not given. `instance_type` is
    the one whose GPUs are the fewest that fit, `solved` the largest size that fits, each null unless `--solve` looked
    for it; `epoch`, which a run that does not fit would take if it did, is null without `--samples`, `swept` without
    `--sweep`.
    """

    workspace: str | None
    configmap: str | None
    model: str | None
    gpu: str | None
    method: str | None
    seq_len: int | None
    batch: int | None
    task: Literal["sft", "dpo"] | None
    footprint: JsonFootprint | None
    peak_bytes: JsonPeakBytes | None
    phase_bytes: JsonPhaseBytes | None
    sharding: JsonSharding | None
    instance_type: str | None
    solved: JsonSolved | None
    epoch: JsonEpoch | None
    swept: JsonSwept | None
    host_bytes: int | None
    interval_bytes: JsonInterval | None
    lengths: JsonLengths | None
    capacity_bytes: int | None
    margin: float | None
    verdict: Literal["fits", "tight", "does-not-fit"] | None
    fits: bool | None
    serving: JsonServing | None


@dataclass(frozen=True, slots=True)
class JsonSummary:
    """How much was checked and found; `fixable` counts safe fixes, `unsafe_fixable` those to be asked for.

    `baselined` findings are in the baseline, `gone` are in it and found no more.
    """

    files: int
    errors: int
    warnings: int
    infos: int
    fixable: int
    unsafe_fixable: int
    suppressed: int
    baselined: int
    gone: int


@dataclass(frozen=True, slots=True)
class JsonReport:
    """What `kaitoc check --format json` prints."""

    version: Literal[1]
    findings: list[JsonFinding]
    jobs: list[JsonJob]
    summary: JsonSummary
