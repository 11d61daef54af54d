"""Checks many files in several processes; findings are the same as in one.

Each process reads its part of the files and tells what objects are in it; once all know of all, each checks its part.
The calling process takes the first part itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, NoReturn

from kaitoc.compiler.engine import Engine, Outcome
from kaitoc.compiler.source import UserError

if TYPE_CHECKING:
    from kaitoc.compiler.findings import Finding
    from kaitoc.compiler.library import Index

FILES_PER_PROCESS = 200
"""Below this many files for each, starting another process costs more than it saves (`make bench-check`)."""


class WorkerError(UserError):
    """A process of a parallel check that ended before its work did, for example killed for want of memory."""


def num_processes(requested: int, num_files: int) -> int:
    """Return how many processes to use; `requested` 0 leaves it to the number of files and cores."""
    if not hasattr(os, "fork"):
        return 1
    if requested:
        return min(requested, max(1, num_files))
    return max(1, min(os.cpu_count() or 1, num_files // FILES_PER_PROCESS))


def check_in_parallel(
    engine: Engine, paths: Sequence[str], processes: int, show: Callable[[Finding], str] | None = None
) -> Outcome:
    """Check files in processes forked from this one; raises `WorkerError` besides what `Engine.check` raises.

    Each process also gives its findings the text that `show` makes of them, for a report to use.
    """
    own_paths, *others = _parts(paths, processes)
    # What the first file loads and derives, all processes then share.
    engine.fresh().check(own_paths[:1])
    workers = [_Worker(engine, part, show) for part in others]
    try:
        own = engine.index(own_paths)
        indices: list[Index] = [worker.receive() for worker in workers]
        for index in indices:
            engine.library.take_index(index)
        everything = engine.library.index()
        for worker in workers:
            worker.send(everything)
        _check_and_show(engine, own, show)
        return _merged([own, *(worker.receive() for worker in workers)])
    finally:
        for worker in workers:
            worker.stop()


def _parts(paths: Sequence[str], count: int) -> list[Sequence[str]]:
    """Return neighbouring files together: partners often lie side by side."""
    size = -(-len(paths) // count)
    return [paths[start : start + size] for start in range(0, len(paths), size)]


class _Worker:
    """A forked process and the pipes to it.

    It is forked by hand: importing `multiprocessing` takes as long as checking ten files.
    """

    def __init__(self, engine: Engine, paths: Sequence[str], show: Callable[[Finding], str] | None) -> None:
        own_read, their_write = os.pipe()
        their_read, own_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(own_read)
            os.close(own_write)
            _work_and_exit(os.fdopen(their_read, "rb"), os.fdopen(their_write, "wb"), engine, paths, show)
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
        """Return what the process sends; raises what was raised in it."""
        import pickle

        try:
            message = pickle.load(self._from)  # noqa: S301  (written by a fork of this process)
        except (EOFError, pickle.UnpicklingError) as error:
            raise WorkerError("a process of the check ended early; `--jobs 1` needs less memory") from error
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


def _work_and_exit(
    source: IO[bytes],
    target: IO[bytes],
    engine: Engine,
    paths: Sequence[str],
    show: Callable[[Finding], str] | None,
) -> NoReturn:
    """Work, and end without the calling process's clean-up, whatever happens."""
    try:
        _work(source, target, engine, paths, show)
    finally:
        os._exit(0)


def _work(
    source: IO[bytes],
    target: IO[bytes],
    engine: Engine,
    paths: Sequence[str],
    show: Callable[[Finding], str] | None,
) -> None:
    """Index some files, learn of all others, check them, and send each result."""
    import pickle

    try:
        outcome = engine.index(paths)
        _send(target, engine.library.index())
        engine.library.take_index(pickle.load(source))  # noqa: S301  (written by the process this one is a fork of)
        _send(target, _check_and_show(engine, outcome, show))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return  # the calling process has given up
    except Exception as error:
        _send(target, error)


def _check_and_show(engine: Engine, outcome: Outcome, show: Callable[[Finding], str] | None) -> Outcome:
    """Check the files of an outcome, and add the texts of what is found."""
    engine.check_indexed(outcome)
    if show is not None:
        outcome.shown = {finding.sort_key: show(finding) for finding in outcome.findings}
    return outcome


def _merged(parts: Sequence[Outcome]) -> Outcome:
    """Return the outcomes as one; what was found from two sides is told once."""
    merged = Outcome()
    seen = set()
    for part in parts:
        for finding in part.findings:
            if finding.sort_key not in seen:
                seen.add(finding.sort_key)
                merged.findings.append(finding)
        merged.files += part.files
        merged.errors += part.errors
        merged.jobs += part.jobs
        merged.notes += part.notes
        merged.num_suppressed += part.num_suppressed
        merged.num_kaito_objects += part.num_kaito_objects
        merged.shown.update(part.shown)
    return merged
