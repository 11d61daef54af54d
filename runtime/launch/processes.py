"""Runs a plan in several processes, one per GPU, by PyTorch's elastic launcher, on which `accelerate launch` rests too.

It is called as a library, not as a command: so a failure is told once, in its own words and with its own exit code,
where the command would end with 1 and a traceback of its own. `torchrun` and `accelerate launch` work just as well.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import EXIT_CODES, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED, RunFailure
from kaitoc.runtime.launch.nodes import NodeGroup
from kaitoc.runtime.launch.signals import ended_at_once_by_sigterm
from kaitoc.runtime.notes import note
from kaitoc.runtime.world import is_launched

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

_HOST = "127.0.0.1"
_ALONE = {"rdzv_backend": "c10d", "rdzv_endpoint": f"{_HOST}:0", "local_addr": _HOST}
"""Where the launcher of a single node meets itself."""
_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
GRACE_VARIABLE = "KAITOC_GRACE_SECONDS"
DEFAULT_GRACE_SECONDS = 25.0
"""Less than the 30 s that Kubernetes waits between SIGTERM and SIGKILL where a pod states nothing else."""


@dataclass(frozen=True, slots=True)
class Execution:
    """How a plan is executed on this machine, beside what it says."""

    device: str = "auto"
    resume: bool = False
    overwrite: bool = False
    metrics_port: int | None = None
    grace_seconds: float | None = None
    use_cache: bool = True


def grace_seconds_of(option: float | None, environment: Mapping[str, str]) -> float:
    """Parse the seconds that workers may take to save after SIGTERM; raises `ValueError`."""
    stated = environment.get(GRACE_VARIABLE)
    if option is None and stated is None:
        return DEFAULT_GRACE_SECONDS
    try:
        seconds = float(stated) if option is None and stated is not None else float(option or 0)
    except ValueError:
        seconds = math.nan
    if not (0 < seconds < math.inf):
        origin = "--grace-seconds" if option is not None else GRACE_VARIABLE
        raise ValueError(f"{origin} must be a number of seconds above 0, not {stated if option is None else option}")
    return seconds


def needs_launch(plan: Plan) -> bool:
    """Return whether a plan asks for processes that nobody has started yet."""
    return plan.num_processes > 1 and not is_launched()


def launch(plan: Plan, how: Execution, group: NodeGroup | None = None) -> int:
    """Run a plan in its number of processes and return the exit code of the first that failed, or 0.

    Of a group of nodes each starts its own processes; they meet at node 0, all at once or not at all. Raises
    `RunFailure` when they do not meet, or when a node is lost that this one's processes do not know yet.
    """
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from kaitoc.runtime.launch.meeting import Peers, SilentNodeError  # imports torch, as those above

    num_processes = group.processes_per_node if group is not None else plan.num_processes
    peers = Peers(group) if group is not None else None
    if group is not None:
        note(f"kaitoc: {group.describe()}")
    with (
        tempfile.TemporaryDirectory(prefix="kaitoc-") as folder,
        _quiet_launcher(num_processes, grace_seconds_of(how.grace_seconds, os.environ)),
        ended_at_once_by_sigterm(),
    ):
        file = Path(folder) / "plan.json"
        file.write_text(plan.to_json(), encoding="utf-8")
        command = ["-m", "kaitoc.runtime", str(file), "--device", how.device]
        command += ["--resume"] if how.resume else []
        command += ["--overwrite"] if how.overwrite else []
        command += [] if how.use_cache else ["--no-cache"]
        command += ["--metrics-port", str(how.metrics_port)] if how.metrics_port is not None else []
        config = LaunchConfig(
            min_nodes=group.num_nodes if group is not None else 1,
            max_nodes=group.num_nodes if group is not None else 1,
            nproc_per_node=num_processes,
            run_id=plan.name,
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(folder, redirects=dict.fromkeys(range(1, num_processes), Std.ALL)),
            **(peers.launch_fields if peers is not None else _ALONE),
        )
        code = 0
        try:
            elastic_launch(config, sys.executable)(*command)
        except ChildFailedError as error:
            code = _tell_failure(error, Path(folder))
        except SilentNodeError as error:
            raise RunFailure(str(error)) from error
        except SignalException as error:
            note(_stated(Path(folder), 0) or f"kaitoc: stopped by {error.sigval.name}")
            code = exit_code_of(-error.sigval)
        except DistError as error:
            if peers is None:
                raise
            raise peers.lost(error) from error
    return peers.part(code) if peers is not None else code


def tell(error: Exception) -> None:
    """Tell a failure to the user: here, or through the launcher that started this process with others."""
    path = os.environ.get(_ERROR_FILE)
    if path is None:
        note(f"kaitoc: {error}")
        return
    more = {"py_callstack": str(error), "timestamp": str(int(time.time()))}
    Path(path).write_text(json.dumps({"message": {"message": str(error), "extraInfo": more}}), encoding="utf-8")


@contextmanager
def _quiet_launcher(num_processes: int, grace_seconds: float) -> Iterator[None]:
    """Keep the launcher from logging what it does, and from letting every process take all cores."""
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(math.ceil(grace_seconds))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // num_processes)))
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _tell_failure(error: ChildFailedError, folder: Path) -> int:
    """Tell what the first process that failed said, and return its exit code.

    What a process did not tell through the launcher is on the terminal already, or, but for the first process, in
    the file that its output went to.
    """
    rank, failure = error.get_first_failure()
    local = failure.local_rank
    said = _stated(folder, local)
    if said is None and local != 0:
        said = "".join(
            file.read_text(encoding="utf-8", errors="replace") for file in _files(folder, local, "stderr.log")
        )
    note(said.rstrip("\n") if said is not None else f"kaitoc: process {rank} ended: {failure.message}")
    return exit_code_of(failure.exitcode)


def exit_code_of(process_code: int) -> int:
    """Map a process's exit code (negative for a signal) to the exit code of the run.

    A terminal that closes, or asks to quit, asks to stop. A process that was killed, by the kernel or by hand, is a
    lost peer: 1, since the run may pass when it is repeated.
    """
    if process_code == -signal.SIGINT:
        return EXIT_INTERRUPTED
    if process_code in (-signal.SIGTERM, -signal.SIGHUP, -signal.SIGQUIT):
        return EXIT_TERMINATED
    return process_code if process_code in EXIT_CODES else EXIT_FAILED


def _stated(folder: Path, rank: int) -> str | None:
    """Return the failure that a process told through the launcher, None when it told none."""
    for file in _files(folder, rank, "error.json"):
        message = json.loads(file.read_text(encoding="utf-8"))["message"]
        return f"kaitoc: {message['message'] if isinstance(message, dict) else message}"
    return None


def _files(folder: Path, rank: int, name: str) -> list[Path]:
    return sorted(folder.glob(f"*/attempt_0/{rank}/{name}"))
