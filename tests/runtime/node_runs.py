"""Several nodes on the loopback interface: our launcher on each, with what Trainer injects into a pod."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
from child_runs import ChildRun, Ended, free_port

from kaitoc.compiler.plan.plan import Plan


@contextmanager
def served(content: bytes) -> Iterator[tuple[str, list[str]]]:
    """Serve a content as rows.jsonl; give its URL and the paths that have been asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/rows.jsonl", asked
        server.shutdown()


class NodeRuns:
    """A run on nodes that start at once, each with its plan; all plans but those of a fault are the same.

    `kill_last_at` kills the processes of the last node as `ChildRun` says, but not their launcher.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        folder: Path,
        *arguments: str,
        per_node: int = 1,
        kill_last_at: tuple[str, int] | None = None,
        **variables: str,
    ) -> None:
        shared = {
            "PET_NNODES": str(len(plans)), "PET_NPROC_PER_NODE": str(per_node), "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(free_port()), **variables,
        }  # fmt: skip
        kill_at = {len(plans) - 1: kill_last_at}
        self._runs = [
            ChildRun(
                plan, folder / f"node-{rank}", *arguments, kill_at=kill_at.get(rank), PET_NODE_RANK=str(rank), **shared
            )
            for rank, plan in enumerate(plans)
        ]

    def __iter__(self) -> Iterator[ChildRun]:
        return iter(self._runs)

    def are_alive(self) -> bool:
        """Return whether all nodes still run."""
        return all(run.is_alive() for run in self._runs)

    def have_met(self) -> bool:
        """Return whether the launchers have met: until then they wait for each other, and none of them is missed."""
        return all(_started_by(run.pid, depth=2) for run in self._runs)

    def end(self) -> list[Ended]:
        """Wait for the end of every node, which none of them may hold up."""
        return [run.end() for run in self._runs]


def kill_process(run: ChildRun) -> None:
    """Kill a process that trains, as the kernel does where a container runs out of memory."""
    while run.is_alive():
        for process in _started_by(run.pid, depth=2)[:1]:  # the launcher's are forked by a child of it
            _kill(process)
            return
        time.sleep(0.01)


def kill_node(run: ChildRun) -> None:
    """Kill all processes of a node at once, as far as one can: the launcher first, so that it tells nobody."""
    below = [pid for depth in (1, 2) for pid in _started_by(run.pid, depth)]
    for pid in (run.pid, *below):
        _kill(pid)


def freeze_node(run: ChildRun) -> Callable[[], None]:
    """Stop all processes of a node with their connections open, as a machine that hangs does; return what thaws it."""
    pids = [run.pid, *(pid for depth in (1, 2) for pid in _started_by(run.pid, depth))]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)

    def thaw() -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    return thaw


def _started_by(pid: int, depth: int) -> list[int]:
    """Return the processes that a process started, or those that these started."""
    with suppress(psutil.NoSuchProcess):
        found = [child.pid for child in psutil.Process(pid).children()]
        return found if depth == 1 else [below for child in found for below in _started_by(child, depth - 1)]
    return []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
