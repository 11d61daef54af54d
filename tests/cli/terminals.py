"""A terminal for commands under test: what they write to it, and how wide it is."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECONDS = 120
_AT_ONCE = (
    "from kaitoc.compiler.core import progress; progress.SECONDS_BEFORE_FIRST = progress.SECONDS_BETWEEN = 0;"
    "from kaitoc.__main__ import main; main()"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command wrote to its terminal and, where that is elsewhere, to standard output; its exit code."""

    terminal: str
    stdout: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Terminal:
    """Runs `kaitoc`; progress is shown from the first step on, however fast the machine is."""

    columns: int = 80
    folder: Path | None = None
    has_stdout: bool = True
    variables: Mapping[str, str] | None = None

    def run(self, arguments: Sequence[str], typed: bytes = b"") -> Shown:
        """Run a command whose standard error, input and, unless `has_stdout` is false, output are the terminal."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, self.columns, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-c", _AT_ONCE, *arguments],
            stdin=theirs,
            stdout=theirs if self.has_stdout else subprocess.PIPE,
            stderr=theirs,
            env=self._environment(),
            cwd=self.folder,
        )
        os.close(theirs)
        if typed:
            os.write(ours, typed)
        shown = _read_all(ours)
        stdout = process.communicate(timeout=PATIENCE_SECONDS)[0]
        return Shown(shown.decode().replace("\r\n", "\n"), stdout.decode() if stdout else "", process.returncode)

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "COLUMNS", "NO_COLOR")}
        return {**inherited, "TERM": "xterm-256color", **(self.variables or {})}


def _read_all(descriptor: int) -> bytes:
    pieces = []
    while True:
        try:
            piece = os.read(descriptor, 65_536)
        except OSError:  # Linux says so when the last writer has gone
            piece = b""
        if not piece:
            os.close(descriptor)
            return b"".join(pieces)
        pieces.append(piece)
