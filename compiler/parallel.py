"""Checks many files in several processes; findings are the same as in one."""

from __future__ import annotations

import os
from collections.abc import Sequence

from kaitoc.compiler.engine import Engine, Outcome

FILES_PER_PROCESS = 200
"""Below this many files for each, starting another process costs more than it saves (`make bench-check`)."""


def num_processes(requested: int, num_files: int) -> int:
    """Return how many processes to use; `requested` 0 leaves it to the number of files and cores."""
    if requested:
        return min(requested, max(1, num_files))
    if not hasattr(os, "fork"):
        return 1
    return max(1, min(os.cpu_count() or 1, num_files // FILES_PER_PROCESS))


def check_in_parallel(engine: Engine, paths: Sequence[str], processes: int) -> Outcome:
    """Check files in forked processes that share the index of all of them."""
    from multiprocessing import get_context

    outcome = engine.index(paths)
    chunks = [outcome.files[start::processes] for start in range(processes)]
    with get_context("fork").Pool(processes, initializer=_set_engine, initargs=(engine,)) as pool:
        parts = pool.map(_check_chunk, chunks)
    merged = Outcome(files=outcome.files, errors=outcome.errors)
    seen = set()
    for part in parts:
        for finding in part.findings:
            if finding.sort_key not in seen:
                seen.add(finding.sort_key)
                merged.findings.append(finding)
        merged.jobs += part.jobs
        merged.notes += part.notes
        merged.num_suppressed += part.num_suppressed
        merged.num_kaito_objects += part.num_kaito_objects
    return merged


_engines: list[Engine] = []


def _set_engine(engine: Engine) -> None:
    _engines[:] = [engine]


def _check_chunk(paths: list[str]) -> Outcome:
    return _engines[0].check_indexed(Outcome(files=paths))
