"""The compile report as one HTML file that needs no network: what changed, why, and the memory before and after."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from kaitoc.compiler.compile.model import AppliedChange, Compilation, CompiledFile, CompiledJob
from kaitoc.compiler.core.edits import unified_diff
from kaitoc.compiler.core.escape import printable, printable_lines
from kaitoc.compiler.report.compile.chart import chart
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
from kaitoc.compiler.report.wording import plural

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --good: #1a7f37; --bad: #cf222e; --faint: #666; }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #ff7b72; --faint: #a0a0a0; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 980px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); border-radius: 6px; }
.add { color: var(--good); } .del, .changes { color: var(--bad); } .why { color: var(--faint); }
.numbers { width: auto; } .place { overflow-wrap: anywhere; min-width: 9rem; }
.position, .figure { white-space: nowrap; }
svg { width: 100%; max-width: 600px; height: auto; }
svg text { font: 10.5px system-ui, sans-serif; fill: currentColor; }
svg .capacity { stroke: currentColor; stroke-dasharray: 4 3; }
@media (max-width: 700px) {
  .changes-made th { display: none; } .changes-made tr, .changes-made td { display: block; }
  .changes-made tr { border-bottom: 1px solid var(--line); padding: .4rem 0; }
  .changes-made td { border: 0; padding: .1rem 0; } .changes-made code { overflow-wrap: anywhere; }
  .changes-made td[data-name]::before { content: attr(data-name) ": "; color: var(--faint); }
  .changes-made .figure br { display: none; } .changes-made .figure:empty { display: none; }
}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(result: Compilation) -> str:
    """Return the page; text from manifests is shown as text."""
    num_changes = sum(len(job.changes) for job in result.jobs)
    title = f"kaitoc compile: {plural(num_changes, 'change')} in {plural(len(result.jobs), 'run')}"
    body = [f"<h1>{title}</h1>", *_refusal(result)]
    for job in result.jobs:
        body.extend(_job(job))
    changed = [file for file in result.files if file.is_changed]
    if changed:
        body.append("<h2>Diff</h2>")
        body.extend(_diff(file) for file in changed)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _refusal(result: Compilation) -> Iterator[str]:
    if not result.is_refused:
        return
    yield '<p class="changes">Nothing was written: resolve these errors first.</p>\n<ul>'
    for problem in result.problems:
        line = problem.source.position(problem.span.start).line
        advice = f"<br>help: {_text(problem.help)}" if problem.help else ""
        yield f"<li>{_text(f'{problem.source.path}:{line}: {problem.code} {problem.message}')}{advice}</li>"
    yield from (f"<li>{_text(job.binding)}</li>" for job in result.jobs if job.binding)
    yield "</ul>"


def _job(job: CompiledJob) -> Iterator[str]:
    after = job.after
    subject = " on ".join(part for part in (after.model, after.gpu) if part)
    yield f"<h2>{_text(after.title or job.before.title)}</h2>"
    yield f"<p>{_text(subject)}</p>" if subject else ""
    yield _numbers(job)
    drawing = chart(job.before, after)
    if drawing:
        yield drawing
    if job.changes:
        yield '<table class="changes-made">'
        names = names_of_figures(job)
        yield f"<tr><th>Place</th><th>Change</th><th>Result</th><th>{names[0]}</th><th>{names[1]}</th></tr>"
        yield from (_change(change, names) for change in job.changes)
        yield "</table>"
    else:
        yield "<p>Nothing to change.</p>"
    if job.proposal is not None:
        yield f"<p>Hint: {_text(proposal_text(job.proposal))}</p>"


def _numbers(job: CompiledJob) -> str:
    rows = [(one.name, one.before, one.after) for one in figures_of(job)] if is_server(job) else _training_rows(job)
    cells = "".join(f"<tr><th>{name}</th><td>{was}</td><td>{now}</td></tr>\n" for name, was, now in rows)
    return f'<table class="numbers">\n<tr><th></th><th>before</th><th>after</th></tr>\n{cells}</table>'


def _training_rows(job: CompiledJob) -> list[tuple[str, str, str]]:
    before, after = job.performance_before, job.performance_after
    room = f" of {size_text(job.after.capacity_bytes)}" if job.after.capacity_bytes is not None else ""
    rows = [
        ("Peak of one GPU", size_text(before.peak_bytes), f"{size_text(after.peak_bytes)}{room}"),
        ("Speed", speed_text(before.tokens_per_second), speed_text(after.tokens_per_second)),
    ]
    if has_cost(job):
        rows.append(("Cost of a million tokens", cost_text(before), cost_text(after)))
    return rows


def _change(change: AppliedChange, names: Sequence[str]) -> str:
    before, after = change.before or "(not set)", change.after or "(removed)"
    return (
        f'<tr><td class="place">{_breakable(span_text(change))}</td>'
        f"<td><code>{_text(change.what)}: {_text(before)} → {_text(after)}</code><br>"
        f'<span class="why">{_text(change.pass_name)}: {_text(change.reason)}</span></td>'
        f'<td class="{change.preserves.value}">{preserves_text(change.preserves)}</td>'
        f"{''.join(map(_figure, names, moved_figures(change)))}</tr>"
    )


def _figure(name: str, text: str) -> str:
    """Return a cell of what a change moves, what it was above what it is."""
    return f'<td class="figure" data-name="{name}">{text.replace("→ ", "→ <br>")}</td>'


def _breakable(place: str) -> str:
    """Mark up a place in a file so that a narrow column breaks it after folders and before the position."""
    return re.sub(r":\d+:\d+(-\d+)?$", r'<wbr><span class="position">\g<0></span>', _text(place).replace("/", "/<wbr>"))


def _diff(file: CompiledFile) -> str:
    lines = printable_lines(unified_diff(file.source, file.text)).split("\n")
    classes = {"+": "add", "-": "del"}
    shown = (f'<span class="{classes.get(line[:1], "")}">{escape(line)}</span>' for line in lines)
    return "<pre>" + "\n".join(shown) + "</pre>"


def _text(text: str) -> str:
    return escape(printable(text))
