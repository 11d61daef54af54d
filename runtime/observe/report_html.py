"""The report of a run as one HTML file that needs no network: the table of the text report, and curves."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from kaitoc.compiler.core.escape import printable
from kaitoc.compiler.core.units import GIB
from kaitoc.runtime.observe.curves import curve
from kaitoc.runtime.observe.report import RunReport

_CURVES = (
    ("Loss", "loss", 1.0, ""),
    ("Loss on held-out rows", "eval_loss", 1.0, ""),
    ("Learning rate", "learning_rate", 1.0, ""),
    ("Tokens per second", "tokens_per_second", 1.0, ""),
    ("Memory", "memory_bytes", 1.0 / GIB, " GiB"),
    ("GPU utilization", "gpu_utilization_percent", 1.0, "%"),
)
"""Title, name in `metrics.jsonl`, factor and unit of each curve."""
_STYLE = """
:root { color-scheme: light dark; --line: #8886; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 820px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
pre { font: 13px/1.45 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; padding: .8rem;
  border: 1px solid var(--line); border-radius: 6px; }
@media (max-width: 480px) { pre { font-size: 11px; padding: .5rem; } }
table { border-collapse: collapse; } th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; }
td { font-variant-numeric: tabular-nums; text-align: right; } td.text { text-align: left; white-space: pre-wrap; }
svg { width: 100%; max-width: 640px; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
svg .grid { stroke: var(--line); stroke-width: .5; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(name: str, report: RunReport, metrics: Sequence[dict[str, Any]]) -> str:
    """Return the page of a run called `name`; `metrics` are the entries of its `metrics.jsonl`."""
    title = f"kaitoc run: {_text(name)}"
    body = [
        f"<h1>{title}</h1>",
        f"<pre>{escape(report.table())}</pre>",
        *_curves(metrics),
        _modules(report),
        *_answers(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _curves(metrics: Sequence[dict[str, Any]]) -> list[str]:
    curves = []
    for title, name, factor, unit in _CURVES:
        points = [(entry["step"], entry[name] * factor) for entry in metrics if name in entry and "step" in entry]
        drawing = curve(title, points, unit)
        if drawing:
            curves.append(f"<h2>{title}</h2>\n{drawing}")
    return curves


def _modules(report: RunReport) -> str:
    rows = "".join(
        f"<tr><th>{_text(module)}</th><td>{count:,}</td></tr>\n" for module, count in report.trainable_by_module.items()
    )
    return f"<h2>Trained parameters by module</h2>\n<table>\n{rows}</table>"


def _answers(report: RunReport) -> list[str]:
    tables = [
        "".join(f"<tr><th>{name}</th><td class=text>{escape(text)}</td></tr>\n" for name, text in sample.rows())
        for sample in report.samples
    ]
    return [f"<h2>Answer {number}</h2>\n<table>\n{rows}</table>" for number, rows in enumerate(tables, 1)]


def _text(text: str) -> str:
    return escape(printable(text))
