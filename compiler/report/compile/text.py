"""The compile report for a terminal: what was changed in each run, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.compile.model import AppliedChange, Compilation, CompiledJob
from kaitoc.compiler.core.escape import printable
from kaitoc.compiler.passes.model import Preserves
from kaitoc.compiler.report.compile.wording import (
    cost_text,
    figures_of,
    gain_text,
    has_cost,
    is_server,
    preserves_text,
    proposal_text,
    size_text,
    speed_text,
)
from kaitoc.compiler.report.style import Style


def render_text(result: Compilation, *, color: bool = False) -> str:
    """Return the report; one block per run, one entry per change."""
    style = Style(color)
    blocks = ["\n".join(_job_lines(job, style)) for job in result.jobs]
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _job_lines(job: CompiledJob, style: Style) -> Iterator[str]:
    after = job.after
    subject = " on ".join(part for part in (after.model, after.gpu) if part)
    title = printable(after.title or job.before.title)
    yield style.strong(title) + (f"  {style.faint(printable(subject))}" if subject else "")
    if not job.changes:
        yield "  nothing to change"
    for change in job.changes:
        yield from _change_lines(change, style)
    yield from _summary_lines(job, style)


def _change_lines(change: AppliedChange, style: Style) -> Iterator[str]:
    before = printable(change.before) or "(not set)"
    after = printable(change.after) or "(removed)"
    mark = preserves_text(change.preserves)
    painted = style.strong(mark) if change.preserves is Preserves.CHANGES else style.faint(mark)
    yield f"  {printable(change.path)}:{change.position.line}  {change.what}: {before} -> {after}  [{painted}]"
    gain = gain_text(change.performance_before, change.performance_after)
    yield f"      {change.pass_name}: {printable(change.reason)}" + (f" ({gain})" if gain else "")


def _summary_lines(job: CompiledJob, style: Style) -> Iterator[str]:
    before, after = job.performance_before, job.performance_after
    for figure in figures_of(job):
        yield f"  {style.strong(figure.name)}   {figure.before} -> {figure.after}"
    if after.server is not None and job.after.verdict is not None:
        yield f"  {style.strong('verdict')}   {job.after.verdict.value}"
    if after.peak_bytes is not None:
        room = f" of {size_text(job.after.capacity_bytes)}" if job.after.capacity_bytes is not None else ""
        verdict = f", {job.after.verdict.value}" if job.after.verdict is not None else ""
        peaks = f"{size_text(before.peak_bytes)} -> {size_text(after.peak_bytes)}"
        yield f"  {style.strong('peak')}   {peaks}{room}{verdict}"
    if after.tokens_per_second is not None and not is_server(job):
        speeds = f"{speed_text(before.tokens_per_second)} -> {speed_text(after.tokens_per_second)}"
        yield f"  {style.strong('speed')}  {speeds}"
    if has_cost(job) and not is_server(job):
        yield f"  {style.strong('cost')}   {cost_text(before)} -> {cost_text(after)} per million tokens"
    if job.proposal is not None:
        yield f"  {style.strong('hint')}   {proposal_text(job.proposal)}"
