"""Progress of long work, on a terminal.

Code that may take long counts its steps with `tracked`. Nothing is shown unless a command has called `show_progress`
for a terminal, so the API, servers, pipes and CI logs stay silent. Nothing is drawn in the first half second either,
and the line is erased when the work ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress

from kaitoc.compiler.core.annotations import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from types import TracebackType

SECONDS_BEFORE_FIRST = 0.5
SECONDS_BETWEEN = 0.1
_ERASE = "\r\x1b[K"
_COUNT_BYTES = 8


class Task:
    """Work whose steps are counted. This one shows nothing."""

    def advance(self, num_steps: int = 1) -> None:
        """Count steps that are done."""

    def refresh(self) -> None:
        """Draw what other processes have counted meanwhile."""

    def use_slot(self, number: int) -> None:
        """Count for the process of a number, which was forked from the one that draws."""

    def __enter__(self) -> Task:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Erase the line."""


SILENT = Task()


class _DrawnTask(Task):
    """A task with a line on a terminal: a percentage, or the seconds passed where the number of steps is unknown."""

    def __init__(self, stream: TextIO, label: str, num_steps: int | None, num_processes: int) -> None:
        self._stream = stream
        self._label = label
        self._num_steps = num_steps
        self._counts = _shared_counts(num_processes)
        self._slot = 0
        self._started = time.monotonic()
        self._next = self._started + SECONDS_BEFORE_FIRST
        self._is_drawn = False

    def advance(self, num_steps: int = 1) -> None:
        self._counts[self._slot] += num_steps
        self.refresh()

    def refresh(self) -> None:
        now = time.monotonic()
        if now < self._next or self._slot:
            return
        self._next = now + SECONDS_BETWEEN
        self._is_drawn = True
        self._write(f"{_ERASE}{self._text(now)[: _columns(self._stream) - 1]}")

    def use_slot(self, number: int) -> None:
        self._slot = number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_drawn:
            self._write(_ERASE)

    def _text(self, now: float) -> str:
        if self._num_steps is None:
            return f"{self._label}  {now - self._started:.0f} s"
        share = min(1.0, sum(self._counts) / max(1, self._num_steps))
        return f"{self._label}  {int(100 * share):>2}%"

    def _write(self, text: str) -> None:
        with suppress(OSError):  # a terminal that has gone must not end the work
            self._stream.write(text)
            self._stream.flush()


_terminal: TextIO | None = None


def show_progress(stream: TextIO, environment: Mapping[str, str]) -> None:
    """Show progress from here on, where `stream` is a terminal that can erase a line and no CI system reads along."""
    global _terminal
    is_watched = stream.isatty() and not environment.get("CI") and environment.get("TERM", "dumb") != "dumb"
    _terminal = stream if is_watched else None


def tracked(label: str, num_steps: int | None = None, num_processes: int = 1) -> Task:
    """Return a task to enter; its line reads `label` and how much is done.

    `num_processes` counts this process and those forked while the task is open, each of which calls `use_slot`.
    """
    return SILENT if _terminal is None else _DrawnTask(_terminal, label, num_steps, num_processes)


def _shared_counts(num_processes: int) -> memoryview | list[int]:
    if num_processes == 1:
        return [0]
    from mmap import mmap  # only a parallel check on a terminal needs memory that forks share

    return memoryview(mmap(-1, num_processes * _COUNT_BYTES)).cast("Q")


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
