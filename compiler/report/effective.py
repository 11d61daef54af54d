"""What a server is started with in the end: its command line, and each value with its origin."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence

from kaitoc.compiler.core.redaction import HIDDEN, is_secret
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_layout import layout_words, origin_of
from kaitoc.compiler.kaito.vllm_words import CONTROLLER, words_of

_LAUNCHER = "python3 /workspace/vllm/inference_api.py"
_MOST_CHARACTERS = 60


def effective_lines(job: ServingJob, num_columns: int | None = None) -> Iterator[str]:
    """Yield the lines that show a server: the command as Kaito builds it, then its values in the order of their names.

    The values are a table, or a list where a terminal of `num_columns` cannot hold the table.

    What Kaito's generator adds for a model alone (formats, parsers, the data type) is not among them. Secrets are
    hidden.
    """
    ref = job.manifest.ref
    role = f", role {job.view.role}" if job.view is not None and job.view.role else ""
    yield f"{ref.kind} {ref.name or job.manifest.source.path}{role} (Kaito {job.release}, vLLM {job.table.vllm})"
    layout = layout_words(job)
    if layout:
        yield f"  layout: {layout}"
    options = job.known_options if job.is_readable else ()
    pairs = [(option.name, HIDDEN if is_secret(option.name) else option.plain) for option in options]
    words = [*job.controller_words, *words_of(pairs)]
    yield f"  $ {_LAUNCHER} {' '.join(shlex.quote(word.text) for word in words)}"
    for problem in job.parsed.problems:
        name = problem.option if problem.index == CONTROLLER else job.option_at(problem.index).name
        yield f"  refused: {name} ({problem.kind.value})"
    rows = [
        (name, _shown(name, served.value), origin_of(job, served.index)) for name, served in job.parsed.values.items()
    ]
    yield from _value_lines(sorted(rows), num_columns)


def _value_lines(rows: Sequence[tuple[str, str, str]], num_columns: int | None) -> list[str]:
    """Return a line for each value: its name, the value and its origin."""
    names, values = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    lines = [f"  {name:<{names}}  {value:<{values}}  {origin}" for name, value, origin in rows]
    if num_columns is None or max(map(len, lines), default=0) <= num_columns:
        return lines
    return [f"  {name}: {value} ({origin})" for name, value, origin in rows]


def _shown(name: str, value: object) -> str:
    if is_secret(name) and value is not None:
        return HIDDEN
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."
