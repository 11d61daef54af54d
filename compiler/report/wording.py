"""Phrases that several formats share."""

from __future__ import annotations

from kaitoc.compiler.core.findings import Applicability, Finding, Fix
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.job.summary import JobSummary, ServingNeed
from kaitoc.compiler.report.model import Totals

_FIX_HINTS = {
    Applicability.SAFE: "apply with `--fix`",
    Applicability.UNSAFE: "apply with `--fix --unsafe-fixes`",
    Applicability.DISPLAY: "by hand",
}


def plural(number: int, noun: str) -> str:
    """Return `1 error`, `2 errors`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def message_of(finding: Finding) -> str:
    """Format a message, prefixed by the object's name for text without a file, such as `kubectl get -o yaml`."""
    owner = finding.object
    if owner is None or not finding.source.path.startswith("<") or not owner.name:
        return finding.message
    name = f"{owner.namespace}/{owner.name}" if owner.namespace else owner.name
    return f"{owner.kind} {name}: {finding.message}"


def can_apply(finding: Finding) -> bool:
    """Return whether the finding has a fix that `--fix`, with or without `--unsafe-fixes`, applies."""
    return finding.fix is not None and finding.fix.applicability is not Applicability.DISPLAY


def fix_hint(fix: Fix) -> str:
    """Format the hint behind a fix: the options that apply it, or that it is applied by hand."""
    return _FIX_HINTS[fix.applicability]


def severity_counts(totals: Totals) -> str:
    """Return `2 errors and 1 warning`, empty when there is no finding."""
    numbers = ((totals.errors, "error"), (totals.warnings, "warning"), (totals.infos, "info"))
    parts = [plural(number, noun) for number, noun in numbers if number]
    return " and ".join(parts) if len(parts) < 3 else f"{parts[0]}, {parts[1]} and {parts[2]}"


def summary_line(totals: Totals) -> str:
    """Return one line on what was found, what can be fixed and what was left out."""
    where = plural(totals.files, "file")
    head = f"Found {severity_counts(totals)} in {where}" if totals.findings else f"No findings in {where}"
    notes = []
    if totals.fixable:
        notes.append(f"{totals.fixable} fixable with `--fix`")
    if totals.unsafe_fixable:
        notes.append(f"{totals.unsafe_fixable} fixable with `--fix --unsafe-fixes`")
    if totals.suppressed:
        notes.append(f"{totals.suppressed} suppressed")
    if totals.baselined:
        notes.append(f"{totals.baselined} in the baseline")
    if totals.gone:
        notes.append(f"{totals.gone} of the baseline gone")
    return f"{head} ({', '.join(notes)})" if notes else head


def job_facts(job: JobSummary) -> list[str]:
    """Return the facts of a job that are known: method, model, GPU, sequence length, batch."""
    facts = [fact for fact in (job.method, job.model, job.gpu) if fact]
    if job.serving is not None:
        return [*facts, *_layout_facts(job.serving), *([f"{job.seq_len:,} tokens"] if job.seq_len else [])]
    if job.seq_len is not None:
        facts.append(f"{job.seq_len:,} tokens")
    if job.batch is not None:
        facts.append(f"batch {job.batch}")
    return facts


def _layout_facts(need: ServingNeed) -> list[str]:
    """Describe a server's layout over several GPUs, empty for one."""
    workload = need.footprint.workload
    names = (("TP", workload.tensor_parallel), ("PP", workload.pipeline_parallel), ("DP", workload.data_parallel))
    return [f"{name} {size}" for name, size in names if size > 1]


def _serving_need(job: JobSummary) -> str:
    """Return the size of a server's KV cache, and the verdict."""
    verdict = f": {job.verdict.value}" if job.verdict else ""
    footprint = job.serving.footprint if job.serving is not None else None
    if footprint is None or footprint.pool.num_blocks == 0:
        return f"has no memory for a KV cache{verdict}"
    cache = format_gib(footprint.tightest.available_bytes)
    return f"holds {footprint.kv_tokens:,} tokens in {cache} of KV cache{verdict}"


def job_need(job: JobSummary) -> str:
    """Return the predicted device memory, beside what the GPU has where that is known."""
    if job.serving is not None:
        return _serving_need(job)
    if job.footprint is None:
        return f"is not estimated: {job.why_unknown}" if job.why_unknown else "is not estimated"
    need = format_gib(job.footprint.device_bytes)
    if job.capacity_bytes is None:
        return f"needs {need}"
    verdict = f": {job.verdict.value}" if job.verdict else ""
    return f"needs {need} of {format_gib(job.capacity_bytes)}{verdict}"
