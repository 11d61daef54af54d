"""Checks many files in several processes; findings are the same as in one.

Each process reads its part of the files and tells what objects are in it; once all know of all, each checks its part.
The calling process takes the first part itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from kaitoc.compiler.check.engine import Engine, tracked_check
from kaitoc.compiler.check.outcome import FileOutcome
from kaitoc.compiler.core.annotations import IO, TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.progress import SECONDS_BETWEEN, SILENT, Task
from kaitoc.compiler.core.records import dataclass

if TYPE_CHECKING:
    from kaitoc.compiler.job.object_table import Index

FILES_PER_PROCESS = 200
"""Below this many files for each, starting another process costs more than it saves (`make bench-check`)."""


class WorkerError(KaitocError):
    """A process of a parallel check that ended before its work did, for example killed for want of memory."""


def num_processes(requested: int, num_files: int) -> int:
    """Choose the number of processes; with `requested` 0 from the number of files and cores."""
    if not hasattr(os, "fork"):
        return 1
    if requested:
        return min(requested, max(1, num_files))
    return max(1, min(os.cpu_count() or 1, num_files // FILES_PER_PROCESS))


class Keeper(Protocol):
    """Keeps what one process finds in its part of the files."""

    def keep(self, number: int, checked: FileOutcome) -> None:
        """Take what was found in the file of a number."""
        ...

    def finished(self) -> Any:
        """Close the worker's results; the picklable answer is sent to the calling process, which reads them by it."""
        ...

    def take(self, state: Any) -> None:
        """Learn what the process that filled this one returned as `finished`."""
        ...


K = TypeVar("K", bound=Keeper)


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring files, for partners often lie side by side, and what keeps what is found in them."""

    paths: Sequence[str]
    keeper: Keeper


def split_paths(paths: Sequence[str], count: int) -> list[Sequence[str]]:
    """Return the files in parts of neighbours, one for each process."""
    size = max(1, -(-len(paths) // count))
    return [paths[start : start + size] for start in range(0, max(1, len(paths)), size)]


def check_files(
    engine: Engine, paths: Sequence[str], requested: int, keeper: Callable[[Sequence[str], bool], K]
) -> list[K]:
    """Check files in as many processes as are requested, or as pay where that is 0; return what keeps the findings.

    `keeper` makes one for each part of the files, and is told whether another process fills it.
    """
    processes = num_processes(requested, len(paths))
    parts = split_paths(paths, processes)
    keepers = [keeper(part, processes > 1) for part in parts]
    with tracked_check(len(paths), len(parts)) as task:
        check_in_parallel(engine, [Part(part, kept) for part, kept in zip(parts, keepers, strict=True)], task)
    return keepers


def check_in_parallel(engine: Engine, parts: Sequence[Part], task: Task = SILENT) -> None:
    """Check parts of files, all but the first in processes forked from this one; a single part in this one.

    Raises `WorkerError` besides what `Engine.check` raises.
    """
    own, *others = parts
    if not others:
        engine.check_rest(own.paths, engine.read_each(own.paths, own.keeper.keep, task), own.keeper.keep, task)
        return
    # What the first file loads and derives, all processes then share.
    engine.fresh().check(own.paths[:1])
    workers = [_Worker(engine, parts, number, task) for number in range(1, len(parts))]
    try:
        waiting = engine.read_each(own.paths, own.keeper.keep, task)
        indices: list[Index] = [engine.library.index(own.paths), *(worker.receive() for worker in workers)]
        for number, worker in enumerate(workers, 1):
            worker.send([index if part != number else None for part, index in enumerate(indices)])
        _take_indices(engine, parts, [None, *indices[1:]])
        del indices
        engine.check_rest(own.paths, waiting, own.keeper.keep, task)
        for worker, part in zip(workers, others, strict=True):
            part.keeper.take(worker.receive())
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A forked process and the pipes to it.

    It is forked by hand: importing `multiprocessing` takes as long as checking ten files.
    """

    def __init__(self, engine: Engine, parts: Sequence[Part], number: int, task: Task) -> None:
        self._task = task
        own_read, their_write = os.pipe()
        their_read, own_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(own_read)
            os.close(own_write)
            task.use_slot(number)
            _work_and_exit(os.fdopen(their_read, "rb"), os.fdopen(their_write, "wb"), engine, parts, number, task)
        os.close(their_read)
        os.close(their_write)
        self._from, self._to = os.fdopen(own_read, "rb"), os.fdopen(own_write, "wb")

    def send(self, message: object) -> None:
        """Hand something over."""
        try:
            _send(self._to, message)
        except BrokenPipeError:
            return  # it has failed and said so: the next `receive` tells

    def receive(self) -> Any:
        """Receive the process's answer; raises what was raised in it."""
        import pickle
        from select import select

        while not select([self._from], [], [], SECONDS_BETWEEN)[0]:
            self._task.refresh()
        try:
            message = pickle.load(self._from)  # noqa: S301  (written by a fork of this process)
        except (EOFError, pickle.UnpicklingError) as error:
            raise WorkerError("a worker process ended early; `--jobs 1` needs less memory") from error
        if isinstance(message, Exception):
            raise message
        return message

    def stop(self) -> None:
        """End the process, if it has not ended by itself."""
        import signal

        self._from.close()
        with suppress(BrokenPipeError):
            self._to.close()
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _send(stream: IO[bytes], message: object) -> None:
    import pickle

    pickle.dump(message, stream, pickle.HIGHEST_PROTOCOL)
    stream.flush()


def _take_indices(engine: Engine, parts: Sequence[Part], indices: Sequence[Index | None]) -> None:
    """Learn what other processes have read, part by part; of the own part there is nothing to learn."""
    for part, index in zip(parts, indices, strict=True):
        if index is not None:
            engine.library.take_index(part.paths, index)


def _work_and_exit(
    source: IO[bytes], target: IO[bytes], engine: Engine, parts: Sequence[Part], number: int, task: Task
) -> NoReturn:
    """Work, and end without the calling process's clean-up, whatever happens."""
    try:
        _work(source, target, engine, parts, number, task)
    finally:
        os._exit(0)


def _work(source: IO[bytes], target: IO[bytes], engine: Engine, parts: Sequence[Part], number: int, task: Task) -> None:
    """Read a part of the files, learn of all others, check what needed others, and tell when all is kept."""
    import pickle

    part = parts[number]
    try:
        waiting = engine.read_each(part.paths, part.keeper.keep, task)
        _send(target, engine.library.index(part.paths))
        _take_indices(engine, parts, pickle.load(source))  # noqa: S301  (written by the process this one is a fork of)
        engine.check_rest(part.paths, waiting, part.keeper.keep, task)
        _send(target, part.keeper.finished())
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return  # the calling process has given up
    except Exception as error:
        _send(target, error)
