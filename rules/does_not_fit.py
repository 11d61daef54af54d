"""A run that is predicted not to fit on its GPU."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of, needs, stack_of, verdict_of, workload_of
from kaitoc.compiler.manifest.objects import Place
from kaitoc.compiler.memory.closed_form.footprint import verdict
from kaitoc.compiler.memory.result import Category, Footprint, Verdict
from kaitoc.compiler.memory.sharing import can_shard
from kaitoc.compiler.memory.workload import Quantization, Workload, WorkloadError
from kaitoc.rules._instances import has_removed_gpu
from kaitoc.rules._ways_to_fit import ways_to_fit

CODE = "KT501"
NAME = "does-not-fit"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when even the low end of the predicted interval is above the GPU's memory."""
    workload, predicted = workload_of(job), footprint_of(job)
    if workload is None or predicted is None or job.gpu is None or has_removed_gpu(job):
        return
    gpu = job.gpu.value
    has_copies = job.num_gpus > 1 and not predicted.sharding.is_sharded
    fits_pooled = has_copies and predicted.device_bytes <= gpu.memory_bytes * job.num_gpus
    if verdict_of(job) is not Verdict.DOES_NOT_FIT or fits_pooled:
        return
    advised = _advice(gpu, workload, job.assumptions.margin), _split_over_more(job, gpu, workload)
    ways = [*filter(None, advised)] or ways_to_fit(job, gpu, workload)
    yield Fault(
        _place(job),
        f"needs {gib(predicted.device_bytes)} GiB at {workload.batch_size} x {workload.seq_len_tokens:,} tokens; "
        f"one {gpu.name} has {gib(gpu.memory_bytes)} GiB (peak in {predicted.peak.phase.value}: "
        f"{_largest(predicted)})",
        help="; ".join(ways),
    )


def _split_over_more(job: Job, gpu: Gpu, workload: Workload) -> str:
    """Return over how many GPUs of the kind the model could be split, by software that splits; empty for none."""
    from kaitoc.compiler.memory.solve_gpus import Machine, smallest_placement  # for runs that do not fit

    if not can_shard(stack_of(job)):
        return ""
    try:
        found = smallest_placement(workload, [Machine(gpu, 1)], job.assumptions.margin)
    except WorkloadError:
        return ""
    return f"sharded over {found.num_gpus} {gpu.name} (fsdp2) it fits" if found is not None else ""


def _place(job: Job) -> Place:
    if job.gpu is not None and job.gpu.place is not None:
        return job.gpu.place
    option = job.option("TrainingArguments", "per_device_train_batch_size")
    return job.place_of(option) if option is not None else job.config_place


_NAMED = (Category.WEIGHTS, Category.ACTIVATIONS, Category.LOGITS, Category.OPTIMIZER, Category.GRADIENTS)


def _largest(predicted: Footprint) -> str:
    sizes = dict(predicted.peak.categories.items())
    first, second = sorted(_NAMED, key=lambda category: -sizes[category])[:2]
    return f"{first.words} {gib(sizes[first])}, {second.words} {gib(sizes[second])}"


def _advice(gpu: Gpu, workload: Workload, margin: float) -> str:
    """Return the first change, from the mildest to the strongest, with which the run fits."""
    candidates = [
        ("`gradient_checkpointing: true`", replace(workload, gradient_checkpointing=True)),
        ("`per_device_train_batch_size: 1` (with accumulation)", replace(workload, batch_size=1)),
        (
            "both checkpointing and a batch of 1",
            replace(workload, gradient_checkpointing=True, batch_size=1),
        ),
        (
            "QLoRA (nf4, double quantization) with a batch of 1",
            replace(workload, quantization=Quantization.NF4, double_quant=True, kbit_prep=True,
                    gradient_checkpointing=True, batch_size=1),
        ),
    ]  # fmt: skip
    for words, candidate in candidates:
        if candidate == workload:
            continue
        predicted = needs(candidate, gpu)
        if predicted is not None and verdict(predicted, gpu, margin) is Verdict.FITS:
            return f"with {words} it needs {gib(predicted.device_bytes)} GiB"
    return ""
