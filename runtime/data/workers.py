"""Work on many rows in several processes of this machine, forked so that only what they make travels."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from kaitoc.compiler.core.progress import Task, tracked
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import RunFailure

BATCH_ROWS = 256
_MIN_BATCHES_PER_WORKER = 8
"""Fewer batches are done sooner than a process is forked, unless a number of processes is asked for."""
_MAX_WORKERS = 8

_Made = TypeVar("_Made")
_jobs: list[Callable[[int], Any]] = []
"""What forked processes find their job in: it is not sent to them, since its rows may be many."""


def num_workers(plan: Plan) -> int | None:
    """Read the plan's number of tokenizing processes (`dataset_num_proc`), None when it is unset."""
    stated = plan.training.extra_training_arguments.get("dataset_num_proc")
    return stated if isinstance(stated, int) and stated > 0 else None


@contextmanager
def batches_made(job: Callable[[int], _Made], num_rows: int, num_processes: int | None) -> Iterator[Iterator[_Made]]:
    """Yield what a job makes of each batch, given the number of its first row, in order.

    `num_processes` None takes as many as pay off. Raises `RunFailure` when one of them is killed.
    """
    starts = range(0, num_rows, BATCH_ROWS)
    per_worker = 1 if num_processes else _MIN_BATCHES_PER_WORKER
    num_processes = min(num_processes or _num_cores(), len(starts) // per_worker)
    with tracked(f"tokenizing {num_rows:,} rows", len(starts)) as task:
        if num_processes <= 1:
            yield _counted(map(job, starts), task)
            return
        with _forked(job, starts, num_processes) as made:
            yield _counted(made, task)


def _counted(made: Iterator[_Made], task: Task) -> Iterator[_Made]:
    for batch in made:
        task.advance()
        yield batch


@contextmanager
def _forked(job: Callable[[int], _Made], starts: Sequence[int], num_processes: int) -> Iterator[Iterator[_Made]]:
    _jobs.append(job)
    try:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(num_processes, mp_context=context, initializer=_use_one_core) as pool:
            yield pool.map(_run, starts)
    except BrokenProcessPool as error:
        raise RunFailure(
            "a process that tokenizes was killed; set `dataset_num_proc: 1`, or grant more memory"
        ) from error
    finally:
        _jobs.pop()


def _run(start: int) -> Any:
    return _jobs[-1](start)


def _num_cores() -> int:
    """Count the cores this process may use to tokenize; one process of each node does it."""
    return max(1, min(_MAX_WORKERS, len(os.sched_getaffinity(0))))


def _use_one_core() -> None:
    """Keep a worker to one core: its tokenizer would otherwise start a thread for each, and warn of having forked."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
