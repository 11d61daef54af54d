"""Runs a plan in several processes, one per GPU, each with a whole copy of the model (DDP).

Each process gets the variables that `torchrun` would set, so that accelerate joins them. Unlike `torchrun` the launcher
ends with the exit code of the process that failed, and without a traceback of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from kaitoc.compiler.plan import Plan

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.1
_SILENT_ENDS = (0, -signal.SIGTERM, -signal.SIGKILL, 128 + signal.SIGTERM)
"""Ends of the first process, whose output is shown, that do not tell why another failed."""
_OWN_END_SECONDS = 3.0
_GRACE_SECONDS = 25.0
"""Less than the 30 s that Kubernetes waits between SIGTERM and SIGKILL."""


def needs_launch(plan: Plan) -> bool:
    """Return whether a plan asks for processes that nobody has started yet."""
    return plan.num_processes > 1 and "RANK" not in os.environ


def is_main_process() -> bool:
    """Return whether this process is the one that writes files and talks to the user."""
    return os.environ.get("RANK", "0") == "0"


def launch(plan: Plan, device: str, *, resume: bool, metrics_port: int | None = None) -> int:
    """Run a plan in its number of processes and return the exit code of the first that failed, or 0."""
    with tempfile.TemporaryDirectory(prefix="kaitoc-") as folder:
        file = Path(folder) / "plan.json"
        file.write_text(plan.to_json(), encoding="utf-8")
        command = [sys.executable, "-m", "kaitoc.runtime", str(file), "--device", device]
        command += ["--resume"] if resume else []
        command += ["--metrics-port", str(metrics_port)] if metrics_port is not None else []
        with tempfile.TemporaryFile("w+", encoding="utf-8") as others:
            processes = _start(command, plan.num_processes, others)
            with _forwarding(processes):
                failed = _wait(processes)
            if failed is not None and processes[0].returncode in _SILENT_ENDS:
                others.seek(0)
                sys.stderr.write(others.read())
    return failed.returncode if failed is not None else 0


def _start(command: Sequence[str], num_processes: int, others: IO[str]) -> list[subprocess.Popen[bytes]]:
    """Start all processes; only the first one's output is shown."""
    port = _free_port()
    started = []
    for rank in range(num_processes):
        environment = {
            **os.environ,
            "MASTER_ADDR": _HOST,
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(num_processes),
            "LOCAL_WORLD_SIZE": str(num_processes),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
        }
        output, errors = (None, None) if rank == 0 else (subprocess.DEVNULL, others)
        started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=errors))  # noqa: S603  (ours)
    return started


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes] | None:
    """Wait for all processes; when one fails, stop the others, which would wait for it for ever."""
    while True:
        codes = [process.poll() for process in processes]
        failed = next((process for process in processes if process.returncode not in (None, 0)), None)
        if failed is not None:
            _let_end(processes)
            _stop(processes)
            return failed
        if all(code == 0 for code in codes):
            return None
        time.sleep(_POLL_SECONDS)


def _let_end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait a moment: what fails in one process mostly fails in all, and each should get to say so."""
    limit = time.monotonic() + _OWN_END_SECONDS
    while time.monotonic() < limit and any(process.poll() is None for process in processes):
        time.sleep(_POLL_SECONDS)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    limit = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _forwarding(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Pass SIGTERM and SIGINT on to the processes, which save a checkpoint and end."""

    def forward(number: int, _frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
