"""The compile report as Markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.compile.model import AppliedChange, Compilation, CompiledJob
from kaitoc.compiler.report.compile.wording import (
    cost_text,
    figures_of,
    has_cost,
    is_server,
    moved_figures,
    names_of_figures,
    preserves_text,
    proposal_text,
    size_text,
    span_text,
    speed_text,
)
from kaitoc.compiler.report.formats.markdown import markdown_text
from kaitoc.compiler.report.places import relative_path
from kaitoc.compiler.report.wording import plural


def render(result: Compilation) -> str:
    """Return a heading, what stopped the compilation if anything, and a section per run."""
    num_changes = sum(len(job.changes) for job in result.jobs)
    lines = [f"### kaitoc compile: {plural(num_changes, 'change')} in {plural(len(result.jobs), 'run')}", ""]
    lines += _refusal_lines(result)
    for job in result.jobs:
        lines += [*_job_lines(job), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _refusal_lines(result: Compilation) -> Iterator[str]:
    if not result.is_refused:
        return
    yield "Nothing was written: resolve these errors first."
    yield ""
    for problem in result.problems:
        line = problem.source.position(problem.span.start).line
        place = f"{relative_path(problem.source.path)}:{line}"
        advice = f"<br>help: {markdown_text(problem.help)}" if problem.help else ""
        yield f"- {problem.code} {markdown_text(place)}: {markdown_text(problem.message)}{advice}"
    for job in result.jobs:
        if job.binding:
            yield f"- {markdown_text(job.binding)}"
    yield ""


def _job_lines(job: CompiledJob) -> Iterator[str]:
    after = job.after
    subject = " on ".join(part for part in (after.model, after.gpu) if part)
    title = after.title or job.before.title
    yield f"#### {markdown_text(title)}" + (f" ({markdown_text(subject)})" if subject else "")
    yield ""
    yield "| | before | after |"
    yield "| --- | --- | --- |"
    if is_server(job):
        yield from (f"| {figure.name} | {figure.before} | {figure.after} |" for figure in figures_of(job))
    else:
        yield from _training_rows(job)
    if job.changes:
        yield ""
        first, second = names_of_figures(job)
        yield f"| Place | Change | Result | Why | {first} | {second} |"
        yield "| --- | --- | --- | --- | --- | --- |"
        yield from (_change_row(change) for change in job.changes)
    if job.proposal is not None:
        yield ""
        yield f"Hint: {markdown_text(proposal_text(job.proposal))}"


def _training_rows(job: CompiledJob) -> Iterator[str]:
    after, before_now = job.after, (job.performance_before, job.performance_after)
    peaks = " | ".join(size_text(performance.peak_bytes) for performance in before_now)
    room = f" of {size_text(after.capacity_bytes)}" if after.capacity_bytes is not None else ""
    yield f"| peak of one GPU | {peaks}{room} |"
    yield f"| speed | {' | '.join(speed_text(performance.tokens_per_second) for performance in before_now)} |"
    if has_cost(job):
        yield f"| cost of a million tokens | {' | '.join(cost_text(performance) for performance in before_now)} |"


def _change_row(change: AppliedChange) -> str:
    what = f"{change.what}: {change.before or '(not set)'} → {change.after or '(removed)'}"
    why = f"{change.pass_name}: {change.reason}"
    cells = (span_text(change), what, preserves_text(change.preserves), why, *moved_figures(change))
    return f"| {' | '.join(markdown_text(cell) for cell in cells)} |"
