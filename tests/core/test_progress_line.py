"""Progress of long work: shown on a terminal that somebody watches, and erased when the work ends."""

from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

import pytest

from kaitoc.compiler.core import progress
from kaitoc.compiler.core.progress import SILENT, show_progress, tracked

CAPABLE = {"TERM": "xterm-256color"}


@dataclass
class Clock:
    seconds: float = 0.0

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Screen(io.StringIO):
    """A terminal that keeps what is written to it."""

    written: list[str] = field(default_factory=list)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written.append(text)
        return len(text)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def screen(clock: Clock) -> Iterator[Screen]:
    screen = Screen()
    show_progress(screen, CAPABLE)
    yield screen
    show_progress(io.StringIO(), {})


@pytest.fixture
def real_terminal() -> Iterator[TextIO]:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        yield stream
    os.close(ours)


def test_nothing_is_tracked_unless_a_command_asked() -> None:
    assert tracked("checking", 3) is SILENT


@pytest.mark.parametrize("environment", [{**CAPABLE, "CI": "true"}, {"TERM": "dumb"}, {}])
def test_nothing_is_shown_where_nobody_watches(real_terminal: TextIO, environment: dict[str, str]) -> None:
    show_progress(real_terminal, environment)
    assert tracked("checking", 3) is SILENT


def test_a_terminal_is_watched(real_terminal: TextIO) -> None:
    show_progress(real_terminal, CAPABLE)
    assert tracked("checking", 3) is not SILENT
    show_progress(io.StringIO(), CAPABLE)
    assert tracked("checking", 3) is SILENT


def test_short_work_shows_nothing(screen: Screen, clock: Clock) -> None:
    with tracked("checking 2 files", 2) as task:
        clock.seconds = 0.49
        task.advance(2)
    assert screen.written == []


def test_long_work_shows_its_share_and_is_erased(screen: Screen, clock: Clock) -> None:
    with tracked("checking 8 files", 8) as task:
        task.advance()
        clock.seconds = 1.0
        task.advance()
        clock.seconds = 1.05
        task.advance()
        clock.seconds = 2.0
        task.advance()
    assert screen.written == ["\r\x1b[Kchecking 8 files  25%", "\r\x1b[Kchecking 8 files  50%", "\r\x1b[K"]


def test_work_of_unknown_size_shows_its_time(screen: Screen, clock: Clock) -> None:
    with tracked("tracing phi-4") as task:
        clock.seconds = 12.3
        task.advance()
    assert screen.written[0] == "\r\x1b[Ktracing phi-4  12 s"


def test_the_line_is_erased_when_the_work_fails(screen: Screen, clock: Clock) -> None:
    def fail() -> None:
        with tracked("tracing phi-4") as task:
            clock.seconds = 1.0
            task.advance()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert screen.written[-1] == "\r\x1b[K"


def test_steps_of_forked_processes_count(screen: Screen, clock: Clock) -> None:
    with tracked("checking 4 files", 4, num_processes=2) as task:
        child = os.fork()
        if child == 0:
            task.use_slot(1)
            task.advance(2)
            os._exit(0)
        os.waitpid(child, 0)
        clock.seconds = 1.0
        task.advance()
    assert screen.written[0] == "\r\x1b[Kchecking 4 files  75%"
