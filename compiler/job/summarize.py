"""What reports say of a job: its size, what it needs, and why that is not known."""

from __future__ import annotations

from collections.abc import Callable

from kaitoc.compiler.core.annotations import TYPE_CHECKING, TypeVar
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import (
    batch_size_of,
    decided_workload_of,
    footprint_of,
    quantization_of,
    seq_len_of,
    targets_of,
    verdict_of,
)
from kaitoc.compiler.job.possible import missing_gpus, why_impossible
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.workload import Quantization
from kaitoc.compiler.yaml.placeholders import UnknownValueError

if TYPE_CHECKING:
    from kaitoc.compiler.memory.variation import Variation

T = TypeVar("T")


def summarize(job: Job) -> JobSummary:
    """Summarize a job for reports: names, model, GPU, method, predicted memory and verdict."""
    known = bool(job.parsed)
    footprint, (verdict, varied) = footprint_of(job), _verdict_with_lengths(job)
    return JobSummary(
        path=job.manifest.source.path,
        workspace=_name(job.workspace.ref.namespace, job.workspace.ref.name) if job.workspace is not None else "",
        configmap=_name(job.config_map.ref.namespace, job.config_map.ref.name) if job.config_map is not None else "",
        model=job.model.value.name if job.model is not None else "",
        gpu=job.gpu.value.name if job.gpu is not None else "",
        method=_method_of(job) if known or job.method is not None else "",
        seq_len=_known(job, seq_len_of) if known else None,
        batch=_known(job, batch_size_of) if known else None,
        task="sft",
        footprint=footprint,
        capacity_bytes=job.gpu.value.memory_bytes if job.gpu is not None else None,
        margin=job.assumptions.margin,
        verdict=verdict,
        variation=varied,
        why_unknown=_why_unknown(job) if footprint is None else "",
    )


def _verdict_with_lengths(job: Job) -> tuple[Verdict | None, Variation | None]:
    """Return whether a job fits, with the replay of its rows' lengths where these are stated."""
    of_longest = verdict_of(job)
    if job.assumptions.rows is None:
        return of_longest, None
    from kaitoc.compiler.job.variation import variation_of  # few checks state lengths
    from kaitoc.compiler.memory.variation import verdict_with

    varied = variation_of(job)
    return verdict_with(of_longest, varied) if of_longest is not None else None, varied


def _why_unknown(job: Job) -> str:
    """Return why a job's memory cannot be estimated."""
    if job.config is None:
        return "its training config was not found" if job.config_map is None else "its training config cannot be read"
    if job.model is None:
        return "the model is not known; name it with `--model`"
    if not job.is_parsable:
        return "Kaito stops at its training config"
    try:
        if not targets_of(job):
            return "the modules to adapt are not known"
        workload = decided_workload_of(job)
        if workload is None:
            return missing_gpus(job) or "no module of the model is adapted"
        return why_impossible(job, workload) or "no run can have this combination of options"
    except UnknownValueError:
        return "a value that it depends on is not known"


def _method_of(job: Job) -> str:
    """Return the method that a Workspace states, else that of the quantization; empty when neither is known."""
    if job.method is not None:
        return job.method.value.lower()
    quantization = _known(job, quantization_of)
    return "" if quantization is None else "lora" if quantization is Quantization.NONE else "qlora"


def _known(job: Job, read: Callable[[Job], T]) -> T | None:
    """Read a value of a job, None when a placeholder stands for it."""
    try:
        return read(job)
    except UnknownValueError:
        return None


def _name(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name
