"""The processes of PyTorch's launcher, forked where a user's are started by their command.

A process that has the libraries and no threads forks them; the launcher itself has threads.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO, Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def fork_ranks(be_rank: Callable[[Sequence[str]], int]) -> None:
    """Let the launcher in this process fork its ranks, each of which calls `be_rank` with its arguments."""
    from torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler import SubprocessHandler

    ours, theirs = Pipe()
    if os.fork() == 0:
        ours.close()
        _serve(theirs, be_rank)
    theirs.close()

    def popen(handler: Any, arguments: Sequence[str], environment: dict[str, str]) -> ForkedRank:
        return ForkedRank(ours, arguments, environment, handler._stdout, handler._stderr)

    SubprocessHandler._popen = popen


class ForkedRank:
    """A forked process as a `subprocess.Popen`."""

    def __init__(
        self,
        server: Connection,
        arguments: Sequence[str],
        environment: dict[str, str],
        stdout: IO[str] | None,
        stderr: IO[str] | None,
    ) -> None:
        self._server = server
        self.args = arguments
        self.returncode: int | None = None
        files = [file.name if file is not None else None for file in (stdout, stderr)]
        self.pid: int = self._ask("start", arguments[1:], environment, files)

    def _ask(self, *request: object) -> Any:
        self._server.send(request)
        return self._server.recv()

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._ask("poll", self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        ends = time.monotonic() + timeout if timeout is not None else None
        while self.poll() is None:
            if ends is not None and time.monotonic() > ends:
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def _serve(launcher: Connection, be_rank: Callable[[Sequence[str]], int]) -> None:
    """Fork processes and tell how they ended, until the launcher is gone."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # what is sent to the group is for the launcher
    while True:
        try:
            what, *request = launcher.recv()
        except EOFError:
            os._exit(0)
        if what == "start":
            launcher.send(_start(be_rank, *request))
        else:
            pid, status = os.waitpid(*request, os.WNOHANG)
            launcher.send(os.waitstatus_to_exitcode(status) if pid else None)


def _start(
    be_rank: Callable[[Sequence[str]], int],
    arguments: Sequence[str],
    environment: dict[str, str],
    files: Sequence[str | None],
) -> int:
    is_ready, ready = os.pipe()
    pid = os.fork()
    if pid:
        os.close(ready)
        os.read(is_ready, 1)  # it leads a group that can be sent signals
        os.close(is_ready)
        return pid
    code = 1
    try:
        os.setsid()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        for number, file in enumerate(files, 1):
            if file is not None:
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os.environ.clear()
        os.environ.update(environment)
        os.close(ready)
        code = be_rank(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
