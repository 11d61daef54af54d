"""What the search may choose for a job, and what choosing it means for the training step and the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.catalog.library_changes import Change
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.job import Job, Target
from kaitoc.compiler.job.memory import accumulation_steps_of, pads, workload_of
from kaitoc.compiler.job.repairs import can_pad_batches
from kaitoc.compiler.job.speed import seconds_per_token
from kaitoc.compiler.kaito.table import release_arguments
from kaitoc.compiler.memory.closed_form.footprint import Bounds, bounds, fits
from kaitoc.compiler.memory.stacks import KAITO_PREFIX
from kaitoc.compiler.memory.workload import Attention, Loss, Optimizer, Quantization, Workload, WorkloadError
from kaitoc.compiler.passes.model import PassContext, Preserves
from kaitoc.compiler.passes.search import Candidate, Choice, Dimension, Hint, Judge, Space

_SHORTEST_TOKENS = 512
_IMPOSSIBLE_BYTES = 1 << 62


@dataclass(frozen=True, slots=True)
class Situation:
    """One run to satisfy: its training step as it is now and the GPUs that it runs on.

    `pads`: sequences of one batch are padded to one length.
    """

    workload: Workload
    gpu: Gpu
    num_gpus: int
    margin: float
    accumulation_steps: int
    pads: bool

    @property
    def effective_batch(self) -> int:
        """Return the sequences per GPU and optimizer step."""
        return self.workload.batch_size * self.accumulation_steps


def situations(job: Job, context: PassContext) -> tuple[Situation, ...]:
    """Return the runs that a change of the job's ConfigMap touches; empty when one of them cannot be predicted."""
    found = []
    for one in (job, *context.siblings):
        workload = workload_of(one)
        if workload is None or one.gpu is None:
            return ()
        found.append(_situation(one, workload, one.gpu.value, one.num_gpus))
    return tuple(found)


def situations_on(job: Job, gpu: Gpu, num_gpus: int) -> tuple[Situation, ...]:
    """Return the run as it would be on other GPUs; empty when the job cannot be predicted."""
    workload = workload_of(job)
    if workload is None:
        return ()
    return (_situation(job, replace(workload, num_gpus=num_gpus), gpu, num_gpus),)


def _situation(job: Job, workload: Workload, gpu: Gpu, num_gpus: int) -> Situation:
    return Situation(workload, gpu, num_gpus, job.assumptions.margin, accumulation_steps_of(job), pads(job))


def space_of(job: Job, run: Situation, context: PassContext) -> Space:
    """Return what may be chosen for a job; the present values come first.

    Checkpointing and the batch may go either way; in the others only the choice that takes less memory is offered.
    """
    workload = run.workload
    choices = {
        Dimension.CHECKPOINTING: _checkpointing(workload),
        Dimension.ATTENTION: _attention(job, workload),
        Dimension.LOSS: _loss(job, workload),
        Dimension.BATCH: _batches(job, run),
        Dimension.OPTIMIZER: _optimizers(workload),
        Dimension.DOUBLE_QUANT: _double_quant(workload),
        Dimension.QUANTIZATION: _quantization(job, workload, context),
        Dimension.LENGTH: _lengths(job, workload),
    }
    return Space(choices)


def judge_for(runs: tuple[Situation, ...]) -> Judge:
    """Return the judge of candidates by all runs that share the ConfigMap: the worst verdict, the highest peak."""
    hints: dict[tuple[int, ...], Hint] = {}

    def seconds(candidate: Candidate) -> float:
        return sum(_seconds(candidate, run) for run in runs)

    def hint(candidate: Candidate) -> Hint:
        if candidate.places not in hints:
            hints[candidate.places] = _joined([_hint(candidate, run) for run in runs])
        return hints[candidate.places]

    return Judge(seconds, lambda candidate: all(_fits(candidate, run) for run in runs), hint)


def apply(candidate: Candidate, run: Situation) -> Workload:
    """Return the training step that a candidate makes of a run; what it does not change stays.

    Another batch size keeps the effective batch, by accumulating gradients.
    """
    changed = run.workload
    for dimension in candidate.changed:
        changed = _APPLY[dimension](changed, candidate.values[dimension])
    if Dimension.BATCH not in candidate.changed:
        return changed
    return replace(
        changed,
        accumulates=run.effective_batch > changed.batch_size,
        is_padded=run.pads and changed.batch_size > 1,
    )


def _seconds(candidate: Candidate, run: Situation) -> float:
    workload = apply(candidate, run)
    accumulation_steps = max(1, run.effective_batch // workload.batch_size)
    return seconds_per_token(workload, run.gpu, run.num_gpus, accumulation_steps)


def _hint(candidate: Candidate, run: Situation) -> Hint:
    try:
        found: Bounds = bounds(apply(candidate, run), run.gpu)
    except WorkloadError:
        return Hint(False, False, _IMPOSSIBLE_BYTES)
    room = run.gpu.memory_bytes * (1.0 - run.margin)
    known = None
    if found.least_high_bytes > room:
        known = False
    elif found.most_high_bytes <= room:
        known = True
    return Hint(known, found.low_bytes <= run.gpu.memory_bytes, found.least_bytes)


def _joined(hints: list[Hint]) -> Hint:
    """Return what holds for all runs together."""
    known = [hint.fits for hint in hints]
    together = False if False in known else None if None in known else True
    return Hint(together, all(hint.fits_tightly for hint in hints), max(hint.least_bytes for hint in hints))


def _fits(candidate: Candidate, run: Situation) -> bool:
    try:
        return fits(apply(candidate, run), run.gpu, run.margin)
    except WorkloadError:
        return False


def _checkpointing(workload: Workload) -> tuple[Choice, ...]:
    present = Choice(workload.gradient_checkpointing)
    if workload.kbit_prep and _is_kaitos(workload):
        return (present,)
    return (present, Choice(not workload.gradient_checkpointing))


def _is_kaitos(workload: Workload) -> bool:
    """Whether Kaito's image runs it: for quantised models that turns checkpointing on, whatever is written.

    It calls PEFT's `prepare_model_for_kbit_training` without saying otherwise; the bundled runtime hands on the choice.
    """
    return workload.stack.startswith(KAITO_PREFIX)


def _attention(job: Job, workload: Workload) -> tuple[Choice, ...]:
    """Kaito's image cannot choose; ours can, and SDPA computes what eager attention computes, faster and in less."""
    present = Choice(workload.attention)
    if job.target is not Target.BUNDLED or workload.attention is not Attention.EAGER:
        return (present,)
    return (present, Choice(Attention.SDPA))


def _loss(job: Job, workload: Workload) -> tuple[Choice, ...]:
    """Kaito's image computes full logits unless told otherwise; ours never does."""
    present = Choice(workload.loss)
    arguments = release_arguments(job.args_release).sections["TrainingArguments"].arguments
    is_known = job.release.has(Change.CHUNKED_LOSS)
    if "loss_type" not in arguments or not is_known or workload.loss is not Loss.FULL:
        return (present,)
    if job.value("TrainingArguments", "loss_type") not in (None, "nll"):
        return (present,)
    if job.flag("TrainingArguments", "use_liger_kernel"):
        return (present,)
    return (present, Choice(Loss.CHUNKED))


def _batches(job: Job, run: Situation) -> tuple[Choice, ...]:
    """Divisors of the effective batch: gradients are averaged over the tokens of all its parts (transformers 4.46 and
    later), so the sum is the same; with dropout the random masks differ.
    """
    workload, effective = run.workload, run.effective_batch
    present = workload.batch_size
    preserves = Preserves.STATISTICAL if workload.lora is not None and workload.lora.dropout else Preserves.EXACT
    if not can_pad_batches(job):
        return (Choice(present),)
    divisors = (size for size in range(1, effective + 1) if effective % size == 0 and size != present)
    others = sorted(divisors, key=lambda size: max(size / present, present / size))
    return (Choice(present), *(Choice(size, preserves) for size in others))


def _optimizers(workload: Workload) -> tuple[Choice, ...]:
    """AdamW with 8-bit states follows 32-bit AdamW's course (arXiv:2110.02861); other optimizers stay."""
    present = Choice(workload.optimizer)
    if workload.optimizer not in (Optimizer.ADAMW, Optimizer.ADAMW_FUSED, Optimizer.ADAMW_8BIT):
        return (present,)
    return (present, Choice(Optimizer.PAGED_ADAMW_8BIT, Preserves.STATISTICAL))


def _double_quant(workload: Workload) -> tuple[Choice, ...]:
    present = Choice(workload.double_quant)
    is_4bit = workload.quantization in (Quantization.NF4, Quantization.FP4)
    if workload.double_quant or not is_4bit:
        return (present,)
    return (present, Choice(True, Preserves.STATISTICAL))


def _quantization(job: Job, workload: Workload, context: PassContext) -> tuple[Choice, ...]:
    """From LoRA to QLoRA: other weights, so another result; a Workspace must change its method with it."""
    present = Choice(workload.quantization)
    may_change = job.workspace is None or context.allow_workspace_edits
    if workload.quantization is not Quantization.NONE or not may_change or workload.lora is None:
        return (present,)
    return (present, Choice(Quantization.NF4, Preserves.CHANGES))


def _lengths(job: Job, workload: Workload) -> tuple[Choice, ...]:
    """Halves of the sequence length: what is cut off is not learned."""
    present = workload.seq_len_tokens
    arguments = release_arguments(job.args_release).sections["TrainingArguments"].arguments
    if "max_length" not in arguments or job.assumptions.seq_len_tokens is not None:
        return (Choice(present),)
    shorter: list[Choice] = []
    while present >> (len(shorter) + 1) >= _SHORTEST_TOKENS:
        shorter.append(Choice(present >> (len(shorter) + 1), Preserves.CHANGES))
    return (Choice(present), *shorter)


def _with_quantization(workload: Workload, value: object) -> Workload:
    is_quantized = value is not Quantization.NONE
    return replace(
        workload,
        quantization=Quantization(value),
        double_quant=is_quantized,
        kbit_prep=is_quantized,
        gradient_checkpointing=(is_quantized and _is_kaitos(workload)) or workload.gradient_checkpointing,
    )


_APPLY: dict[Dimension, Callable[[Workload, object], Workload]] = {
    Dimension.CHECKPOINTING: lambda workload, value: replace(workload, gradient_checkpointing=bool(value)),
    Dimension.ATTENTION: lambda workload, value: replace(workload, attention=Attention(value)),
    Dimension.LOSS: lambda workload, value: replace(workload, loss=Loss(value)),
    Dimension.BATCH: lambda workload, value: replace(workload, batch_size=int(str(value))),
    Dimension.OPTIMIZER: lambda workload, value: replace(workload, optimizer=Optimizer(value)),
    Dimension.DOUBLE_QUANT: lambda workload, value: replace(workload, double_quant=bool(value)),
    Dimension.QUANTIZATION: _with_quantization,
    Dimension.LENGTH: lambda workload, value: replace(workload, seq_len_tokens=int(str(value))),
}
