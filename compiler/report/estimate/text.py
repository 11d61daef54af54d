"""The tables of `kaitoc estimate`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.units import format_gib, gib
from kaitoc.compiler.job.summary import Swept
from kaitoc.compiler.memory.batches import Batching
from kaitoc.compiler.memory.closed_form.footprint import margin_bytes, verdict
from kaitoc.compiler.memory.estimate import Lever
from kaitoc.compiler.memory.result import Category, Footprint
from kaitoc.compiler.memory.sharding.model import Offload
from kaitoc.compiler.memory.solve import SolvedSize
from kaitoc.compiler.memory.throughput.epoch import Epoch
from kaitoc.compiler.memory.variation import Variation
from kaitoc.compiler.memory.workload import NEWEST_LIGER, Loss, Quantization, Workload
from kaitoc.compiler.report.wording import plural

_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Sweep:
    """A size that takes all values from the first to the last."""

    dimension: SolvedSize
    first: int
    last: int

    @property
    def words(self) -> str:
        """Return the values as `512 to 8,192`."""
        return f"{self.first:,} to {self.last:,}"


def headline(
    workload: Workload, gpu: Gpu | None, predicted: Footprint | None = None, *, swept: Sweep | None = None
) -> str:
    """Return in one line what is estimated; the prediction knows what `auto` sharding came to."""
    batch, tokens, rank = f"{workload.batch_size // workload.rows_per_example}", f"{workload.seq_len_tokens:,}", None
    if swept is not None:
        batch = swept.words if swept.dimension is SolvedSize.BATCH else batch
        tokens = swept.words if swept.dimension is SolvedSize.SEQ_LEN else tokens
        rank = swept.words if swept.dimension is SolvedSize.RANK else None
    parts = [
        workload.architecture.name,
        *(["DPO"] if workload.rows_per_example > 1 else []),
        *_method(workload, rank),
        f"{batch}{_unit(workload, batch)} x {tokens} tokens",
        f"{workload.attention.value} attention",
        f"checkpointing {'on' if workload.gradient_checkpointing else 'off'}",
        f"{workload.loss.value} loss{_liger_version(workload)}",
        *(["outputs held"] if workload.holds_outputs else []),
        *(["optimizer in backward"] if workload.steps_in_backward else []),
        *(["activations on the host"] if workload.offloads_activations and not _is_split(workload, predicted) else []),
        *_sharing(workload, predicted),
        workload.stack,
    ]
    return ", ".join([*parts, gpu.name] if gpu is not None else parts)


def _liger_version(workload: Workload) -> str:
    is_stated = workload.loss is Loss.LIGER and workload.liger_version != NEWEST_LIGER
    return f" of liger-kernel {workload.liger_version}" if is_stated else ""


def _is_split(workload: Workload, predicted: Footprint | None) -> bool:
    return (predicted.sharding if predicted is not None else workload.sharding).is_sharded


def _unit(workload: Workload, batch: str) -> str:
    if workload.rows_per_example == 1:
        return ""
    return " pair" if batch == "1" else " pairs"


def _method(workload: Workload, rank: str | None) -> list[str]:
    """Describe the training method, the weights' type, and what a quantized model skips."""
    if workload.lora is None:
        return ["full fine-tuning"]
    if workload.quantization is Quantization.NONE:
        return [f"LoRA r={rank or workload.lora.rank}"]
    unprepared = [] if workload.kbit_prep else ["not prepared for k-bit training"]
    return [f"QLoRA r={rank or workload.lora.rank} {workload.quantization.value}", *unprepared]


def _sharing(workload: Workload, predicted: Footprint | None) -> list[str]:
    """Describe how several GPUs share the model."""
    if workload.num_gpus == 1:
        return []
    sharding = predicted.sharding if predicted is not None else workload.sharding
    nodes = f" on {sharding.num_nodes} nodes" if sharding.num_nodes > 1 else ""
    group = f" in groups of {sharding.shard_group}" if sharding.shard_group is not None else ""
    offload = f", {sharding.offload.value} on the host" if sharding.offload is not Offload.NONE else ""
    kept = "" if sharding.reshard_after_forward else ", weights kept gathered"
    return [f"{workload.num_gpus} GPUs{nodes} with {sharding.kind.value}{group}{kept}{offload}"]


def footprint_table(predicted: Footprint, gpu: Gpu | None, margin: float) -> str:
    """Return bytes by category at the peak, the totals and the verdict, in GiB."""
    peak = predicted.peak
    lines = [_row(category.value, num_bytes) for category, num_bytes in peak.categories.items() if num_bytes]
    lines.append(_row("allocated", predicted.allocated_bytes, f"the peak, in the {peak.phase.value} phase"))
    lines.append(_row("fragmentation", predicted.fragmentation_bytes))
    lines.append(_row("context", predicted.context_bytes, "CUDA and libraries"))
    interval = f"between {gib(predicted.low_bytes)} and {gib(predicted.high_bytes)}"
    lines.append(_row("device", predicted.device_bytes, interval))
    if predicted.host_bytes is not None:
        where = "of each node, in addition to its GPUs" if predicted.num_gpus > 1 else "in addition to the GPU"
        lines.append(_row("host memory", predicted.host_bytes, where))
    if gpu is not None:
        free = margin_bytes(predicted, gpu)
        state = f"{format_gib(free)} free" if free >= 0 else f"{format_gib(-free)} short"
        lines.append(_row(gpu.name, gpu.memory_bytes, f"{verdict(predicted, gpu, margin).value}, {state}"))
    return "\n".join([f"{'':<{_WIDTH}}   GiB", *lines])


def epoch_line(epoch: Epoch, *, fits: bool = True) -> str:
    """Format tokens/s, hours per epoch, and with a price the cost of an epoch, on condition that the run fits."""
    cost = f", USD {epoch.usd:,.2f}" if epoch.usd is not None else ""
    minutes = epoch.hours * 60
    hours = f"{epoch.hours:,.1f} h" if epoch.hours >= 1 else f"{minutes:.0f} min" if minutes >= 1 else _seconds(minutes)
    low, high = epoch.low_tokens_per_second, epoch.high_tokens_per_second
    interval = f" (between {low:,.0f} and {high:,.0f})" if low < high else ""
    line = "" if fits else "the run does not fit; if it did: "
    line += (
        f"{epoch.tokens_per_second:,.0f} tokens/s{interval}; an epoch of {epoch.num_samples:,} samples: {hours}{cost}"
    )
    return "\n".join([line, *(f"{'':<{_WIDTH}}   {assumption}" for assumption in epoch.assumptions)])


def _seconds(minutes: float) -> str:
    return f"{minutes * 60:.0f} s" if minutes * 60 >= 1 else "less than 1 s"


def variation_table(varied: Variation, predicted: Footprint, gpu: Gpu | None) -> str:
    """Compare varying batches with the longest one alone, in GiB, and name the options that change it."""
    lengths, loading = varied.drawing.lengths, varied.drawing.loading
    rows = plural(varied.batch_size, "packed row" if loading.batching is Batching.PACKED else "row")
    like = " of similar length" if loading.batching is Batching.GROUPED else ""
    lines = [
        f"lengths vary: {varied.drawing.num_batches} batches of {rows}{like} (tokens per row: "
        f"p50 {lengths.percentile(0.5):,}, p90 {lengths.percentile(0.9):,}, max {lengths.longest:,})",
        _row("allocated", varied.allocated_high_bytes, f"from {gib(varied.allocated_low_bytes, 2)}, by order of rows"),
        _row("reserved", varied.reserved_high_bytes, f"from {gib(varied.reserved_low_bytes, 2)}, by order of rows; "
             f"{gib(predicted.reserved_bytes, 2)} for the longest batch alone"),
        *(_row("", other.reserved_bytes, f"with {other.words}") for other in varied.alternatives),
    ]  # fmt: skip
    if gpu is not None and varied.fits is False:
        lines.append(
            f"does not fit {gpu.name} because lengths vary: fragmentation leaves gaps too small for later batches"
        )
    elif gpu is not None and varied.num_retries:
        lines.append(f"fills {gpu.name}: PyTorch must free cached memory to continue, which costs time")
    return "\n".join(lines)


def phase_table(predicted: Footprint) -> str:
    """Return bytes by category for the peak of each phase, in GiB."""
    names = [*(category.value for category in Category), "allocated"]
    columns = [
        [*(num_bytes for _, num_bytes in phase.categories.items()), phase.allocated_bytes] for phase in predicted.phases
    ]
    header = f"{'':<{_WIDTH}}" + "".join(f"{phase.phase.value:>11}" for phase in predicted.phases)
    rows = [
        f"{name:<{_WIDTH}}" + "".join(f"{gib(value, 2):>11}" for value in values)
        for name, *values in zip(names, *columns, strict=True)
    ]
    return "\n".join([header, *rows])


def levers_table(levers: Sequence[Lever]) -> str:
    """List the changes that reduce the device total most."""
    if not levers:
        return "no single change saves 1% or more"
    rows = [f"{'-' + gib(lever.saved_bytes, 2):>9} GiB  {lever.words}" for lever in levers[:4]]
    return "\n".join(["largest reductions", *rows])


def sweep_table(swept: Swept) -> str:
    """Return one row per point of a sweep, in GiB."""
    lines = [f"{swept.size.value:>10}{'allocated':>12}{'reserved':>12}{'device':>12}"]
    for point in swept.points:
        predicted = point.footprint
        totals = (predicted.allocated_bytes, predicted.reserved_bytes, predicted.device_bytes)
        state = f"   {point.verdict.value}" if point.verdict is not None else ""
        lines.append(f"{point.value:>10,}" + "".join(f"{gib(total, 2):>12}" for total in totals) + state)
    reserved = [point.footprint.reserved_bytes for point in swept.points]
    if any(after < before for before, after in pairwise(reserved)):
        lines.append(
            "reserved memory falls where larger blocks leave fewer gaps: optimizer states reuse what the "
            "first backward "
            "pass freed"
        )
    return "\n".join(lines)


def _row(name: str, num_bytes: int, words: str = "") -> str:
    return f"{name:<{_WIDTH}}{gib(num_bytes, 2):>6}  {words}".rstrip()
