"""Runs of the runtime in processes of their own, which can be killed or be one of several.

They are forked from a process that imported the libraries once: to a run of a few steps that is most of its time. So
are the processes that their launcher starts, unless a run is `by_command`.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from pkgutil import resolve_name
from secrets import randbelow
from typing import Any, NamedTuple
from unittest.mock import patch

from forked_ranks import fork_ranks

from kaitoc.compiler.plan.plan import Plan

TIMEOUT_SECONDS = 600
"""No measurement: what takes that long hangs."""

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["kaitoc.runtime.launch.run", "trl", "tests.runtime.warmed_libraries"])


class Ended(NamedTuple):
    """How a run ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def free_port() -> int:
    """Find a port at which nothing listens, and that the kernel gives to no connection before a slow process does."""
    while True:
        port = 20_000 + randbelow(12_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ChildRun:
    """A run that goes on in another process."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        *arguments: str,
        kill_at: tuple[str, int] | None = None,
        max_file_bytes: int | None = None,
        by_command: bool = False,
        before: str | None = None,
        **variables: str,
    ) -> None:
        """Start a run whose plan and output are put into a folder.

        `kill_at` names a function and the number of its call in place of which the process is killed: at a moment
        that does not depend on how busy the machine is. `max_file_bytes` makes writing fail as a full disk does.
        `by_command` has the launcher start its processes as it does for users. `before` names a function that the
        process calls first.
        """
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "plan.json"
        file.write_text(plan.to_json(), encoding="utf-8")
        self._folder = folder
        self._metrics = Path(plan.output.path) / "metrics.jsonl"
        words = (str(file), "--device", "cpu", *arguments)
        forks_ranks = plan.num_processes > 1 and not by_command
        start = _Start(words, folder, variables, kill_at, max_file_bytes, forks_ranks, before)
        self._process = _CONTEXT.Process(target=_execute, args=(start,))
        for name in ("stdout", "stderr"):
            (folder / name).unlink(missing_ok=True)
        with patch.dict(os.environ, ENVIRONMENT):
            self._process.start()

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether the run still goes on."""
        return self._process.is_alive()

    def has_started(self) -> bool:
        """Return whether what happens to the process now happens to the run, not to what starts it."""
        return (self._folder / "stderr").exists()

    def wait_for_step(self) -> None:
        """Wait until the run logged a step, or ended."""
        while self.is_alive() and not self._metrics.exists():
            time.sleep(0.01)

    def send_signal(self, number: signal.Signals, *, to_group: bool = False) -> None:
        """Send a signal to the run, or to all its processes as a terminal does."""
        (os.killpg if to_group else os.kill)(self.pid, number)

    def end(self) -> Ended:
        """Wait for the run's end."""
        self._process.join(TIMEOUT_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        written = ((self._folder / name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
        return Ended(self._process.exitcode or 0, *written)


def start_ranks(
    plan: Plan,
    folder: Path,
    *arguments: str,
    kill_last_at: tuple[str, int] | None = None,
    before: str | None = None,
) -> list[ChildRun]:
    """Start a plan in its number of processes, each told its rank by the variables that `torchrun` sets.

    `kill_last_at` kills the process of the last rank, and `before` is called in each, as `ChildRun` says.
    """
    if plan.num_processes == 1:
        return [ChildRun(plan, folder / "rank-0", *arguments, before=before)]
    size = str(plan.num_processes)
    shared = {
        "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
    }  # fmt: skip
    kill_at = {plan.num_processes - 1: kill_last_at}
    return [
        ChildRun(
            plan, folder / f"rank-{rank}", *arguments, kill_at=kill_at.get(rank), before=before, RANK=str(rank),
            LOCAL_RANK=str(rank), **shared,
        )
        for rank in range(plan.num_processes)
    ]  # fmt: skip


def run_ranks(plan: Plan, folder: Path, *arguments: str, before: str | None = None) -> list[Ended]:
    """Run a plan in its number of processes to their ends."""
    return [run.end() for run in start_ranks(plan, folder, *arguments, before=before)]


class _Start(NamedTuple):
    arguments: tuple[str, ...]
    folder: Path
    variables: dict[str, str]
    kill_at: tuple[str, int] | None
    max_file_bytes: int | None
    forks_ranks: bool
    before: str | None


def _execute(start: _Start) -> None:
    """Be `python -m kaitoc.runtime` in this process, its output in files."""
    gc.freeze()  # a collection would copy all that the libraries hold into this process
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(start.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.setsid()
    os.environ.update(start.variables)
    if start.kill_at is not None:
        _kill_at(*start.kill_at)
    if start.max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (start.max_file_bytes, start.max_file_bytes))
    if start.before is not None:
        resolve_name(start.before)()
    if start.forks_ranks:
        fork_ranks(_run)
    sys.exit(_run(["-m", "kaitoc.runtime", *start.arguments]))


def _run(arguments: Sequence[str]) -> int:
    """Be Python with the arguments `-m kaitoc.runtime ...`."""
    from kaitoc.runtime.__main__ import main

    sys.argv = list(arguments[1:])
    return main()


def _kill_at(function: str, num_calls: int) -> None:
    """Let a function's call of a number kill this process."""
    owner, _, name = function.rpartition(".")
    real, calls = resolve_name(function), count(1)

    def counted(*arguments: Any, **options: Any) -> Any:
        if next(calls) == num_calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(resolve_name(owner), name, counted)
