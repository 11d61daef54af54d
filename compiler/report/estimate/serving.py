"""The table of `kaitoc estimate --task serve`."""

from __future__ import annotations

from kaitoc.compiler.core.units import format_gib, gib
from kaitoc.compiler.job.summary import ServingNeed
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.footprint import RankMemory, ServingFault, ServingFootprint
from kaitoc.compiler.memory.serving.solve import SolvedServing
from kaitoc.compiler.memory.serving.uncounted import uncounted

_WIDTH = 17
UNSOLVED = ("none", "0")
"""What a question of `--solve` is answered with where nothing fits."""
_ANSWERS = {
    SolvedServing.LENGTH: ("longest context that certainly fits: --max-model-len", "no context certainly fits"),
    SolvedServing.CONCURRENCY: ("requests of the largest context at once:", "not even one request fits"),
    SolvedServing.GPUS: ("fewest GPUs that certainly fit:", "no number of GPUs certainly fits"),
    SolvedServing.INSTANCE: ("smallest instance types that certainly fit:", "no instance type certainly fits"),
}
_DEFAULT_LENGTHS = tuple(2048 * 4**power for power in range(3))


def serving_table(need: ServingNeed, margin: float) -> str:
    """Tabulate one GPU's memory, the KV cache's capacity, and the verdict."""
    footprint, rank = need.footprint, need.footprint.tightest
    lines = [headline(footprint), "", f"{'':<{_WIDTH}}   GiB", *_memory_lines(footprint, rank), "",
             *_capacity_lines(need)]  # fmt: skip
    if need.layout:
        lines.append(_fact("layout", need.layout))
    if need.kaito is not None:
        lines.append(_fact("nodes", _nodes(need)))
    lines += [_fact("not counted", words) for words in uncounted(footprint)]
    lines.append(_fact("verdict", _verdict_words(footprint, margin)))
    if need.solved:
        lines += ["", _answer(SolvedServing(need.question), need.solved)]
    return "\n".join(lines)


def _answer(question: SolvedServing, solved: str) -> str:
    found, none = _ANSWERS[question]
    return none if solved in UNSOLVED else f"{found} {solved}"


def headline(footprint: ServingFootprint) -> str:
    """Return in one line what is served, and on what."""
    workload = footprint.workload
    sizes = ((workload.tensor_parallel, "tensor"), (workload.pipeline_parallel, "pipeline"),
             (workload.data_parallel, "data"))  # fmt: skip
    parts = [workload.model.name, f"{workload.weight_format.value} weights", f"{workload.kv_dtype} KV cache",
             *(f"{size}-way {name} parallel" for size, name in sizes if size > 1), f"vLLM {workload.vllm}"]  # fmt: skip
    return ", ".join([*parts, footprint.gpu.name] if footprint.gpu is not None else parts)


def _memory_lines(footprint: ServingFootprint, rank: RankMemory) -> list[str]:
    limits, workload = footprint.limits, footprint.workload
    lines = [_row("weights", rank.weights_bytes)]
    if rank.draft_bytes and workload.speculation is not None:
        lines.append(_row("drafter", rank.draft_bytes, workload.speculation.name))
    if rank.slots_bytes:
        lines.append(_row("adapter slots", rank.slots_bytes))
    passes = f"forward pass of {limits.tokens:,} tokens {gib(rank.forward_bytes, 2)}"
    samples = f"sampling for {limits.sequences:,} sequences {gib(rank.sampling_bytes, 2)}"
    lines.append(_row("profiling peak", rank.peak_bytes, f"{passes}, {samples}"))
    if rank.graphs.high_bytes:
        counted = "counted" if rank.graphs.is_counted else "not counted, outside what is requested"
        lines.append(_row("CUDA graphs", rank.graphs.bytes, f"{counted}; up to {gib(rank.graphs.high_bytes, 2)}"))
    if footprint.gpu is not None and workload.kv_cache_bytes is None:
        share = f"{workload.utilization:.0%} of {footprint.gpu.name} ({gib(footprint.gpu.memory_bytes, 2)})"
        lines.append(_row("requested", rank.requested_bytes, share))
    between = f"between {gib(rank.low_available_bytes, 2)} and {gib(rank.high_available_bytes, 2)}"
    lines.append(_row("KV cache", rank.available_bytes, between if workload.kv_cache_bytes is None else "as stated"))
    return lines


def _capacity_lines(need: ServingNeed) -> list[str]:
    footprint, workload = need.footprint, need.footprint.workload
    if footprint.pool.num_blocks == 0:
        return []
    replicas = f", in each of {workload.data_parallel} replicas" if workload.data_parallel > 1 else ""
    lines = [_fact("KV tokens", f"{footprint.kv_tokens:,}{replicas}")]
    if footprint.logged_kv_tokens != footprint.kv_tokens:
        lines[-1] += f" (vLLM {workload.vllm} logs {footprint.logged_kv_tokens:,})"
    limit = workload.length_limit_tokens
    reduced = f" of {limit:,} asked for" if footprint.longest_tokens < limit else ""
    lines.append(_fact("largest context", f"{footprint.longest_tokens:,} tokens{reduced}"))
    shown = [f"{footprint.concurrency(length):.2f} x {length:,}" for length in lengths_of(need)]
    if shown:
        lines.append(_fact("concurrency", ", ".join(shown)))
    if workload.offloaded_share:
        lines.append(_fact("host memory", f"LMCache takes {workload.offloaded_share:.0%} of what is free at start"))
    return lines


def lengths_of(need: ServingNeed) -> tuple[int, ...]:
    """Return the lengths to show concurrency at: those asked for, else the context served and some below it."""
    if need.lengths:
        return need.lengths
    served = need.footprint.length_tokens
    return (*(length for length in _DEFAULT_LENGTHS if length < served), served) if served else ()


def _nodes(need: ServingNeed) -> str:
    needed = f"{need.needed_nodes}" if need.needed_nodes is not None else "no number of nodes is enough"
    if need.kaito_nodes is None:
        return f"{needed}; Kaito refuses: it reserves more than a GPU has"
    if need.kaito_nodes == need.needed_nodes:
        return f"{needed}, as Kaito estimates"
    if need.needed_nodes is None or need.kaito_nodes < need.needed_nodes:
        return f"{needed}; Kaito estimates {need.kaito_nodes}, too few for vLLM to start"
    return f"{needed}; Kaito estimates {need.kaito_nodes}, more than vLLM needs"


def _verdict_words(footprint: ServingFootprint, margin: float) -> str:
    words = footprint.verdict.value
    if footprint.fault is ServingFault.NO_CACHE:
        return f"{words}: no memory is left for the KV cache"
    if footprint.fault is ServingFault.UTILIZATION:
        return f"{words}: the requested memory leaves no room for the CUDA context"
    if footprint.fault is ServingFault.LENGTH:
        need = format_gib(footprint.needed_bytes, 2)
        return f"{words}: one request of {footprint.workload.length_limit_tokens:,} tokens needs {need}"
    return f"{words}, with a margin of {margin:.0%}" if footprint.verdict is Verdict.FITS else words


def _row(name: str, num_bytes: int, words: str = "") -> str:
    return f"{name:<{_WIDTH}}{gib(num_bytes, 2):>6}  {words}".rstrip()


def _fact(name: str, words: str) -> str:
    return f"{name:<{_WIDTH}} {words}"
