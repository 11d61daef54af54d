"""What a server needs, in the shape of the JSON report."""

from __future__ import annotations

from kaitoc.compiler.job.summary import ServingNeed
from kaitoc.compiler.memory.serving.uncounted import uncounted
from kaitoc.compiler.report.estimate.serving import lengths_of
from kaitoc.compiler.report.json_model import JsonConcurrency, JsonInterval, JsonRankBytes, JsonServing


def to_json_serving(need: ServingNeed) -> JsonServing:
    """Return a server's need in the shape of version 1."""
    footprint, rank = need.footprint, need.footprint.tightest
    workload = footprint.workload
    lengths = lengths_of(need) if footprint.pool.num_blocks else ()
    return JsonServing(
        tensor_parallel=workload.tensor_parallel,
        pipeline_parallel=workload.pipeline_parallel,
        data_parallel=workload.data_parallel,
        rank_bytes=JsonRankBytes(
            weights=rank.weights_bytes,
            drafter=rank.draft_bytes,
            adapters=rank.slots_bytes,
            profiling_peak=rank.peak_bytes,
            graphs=rank.graphs.bytes,
            counts_graphs=rank.graphs.is_counted,
            requested=rank.requested_bytes,
            kv_cache=rank.available_bytes,
        ),
        kv_cache_interval_bytes=JsonInterval(rank.low_available_bytes, rank.high_available_bytes),
        kv_tokens=footprint.kv_tokens,
        logged_kv_tokens=footprint.logged_kv_tokens,
        context=footprint.length_tokens,
        longest_context=footprint.longest_tokens,
        needed_bytes=footprint.needed_bytes,
        concurrency=[JsonConcurrency(length, round(footprint.concurrency(length), 4)) for length in lengths],
        nodes=need.num_nodes,
        needed_nodes=need.needed_nodes,
        kaito_nodes=need.kaito_nodes,
        host_share=workload.offloaded_share,
        uncounted=list(uncounted(footprint)),
        fault=footprint.fault.value if footprint.fault is not None else None,
        solved=need.solved or None,
    )
