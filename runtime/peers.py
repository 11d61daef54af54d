"""What the processes of a run agree on before they train: the main process decides, the others hear it.

They talk through the store by which they were launched, so nothing here needs a process group or a GPU.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from kaitoc.runtime.failures import OutputRefused, RunFailure
from kaitoc.runtime.world import is_launched, is_main_process, local_rank

_CONNECT = timedelta(minutes=30)
_DECISION = timedelta(days=1)
"""A download may take hours. A main process that ended is noticed at once, since its launcher ends the store."""
_SEEN_SECONDS = 5.0
"""For storage that is slow: the file has a name that no client can remember as missing."""
_LISTENERS_SECONDS = 30.0
"""Processes of one node import for about ten seconds, some sooner than others."""
_numbers = count()


class PeerFailure(RunFailure):
    """A failure of the main process, which every process ends with."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def decided(decide: Callable[[], str]) -> str:
    """Return the main process's decision; raises its `RunFailure` in every process.

    All processes call this in the same order.
    """
    return _decided(decide, _Circle("all", is_main_process(), _environment_number("WORLD_SIZE") - 1))


def decided_on_node(decide: Callable[[], str]) -> str:
    """Return the decision of this node's first process; raises its `RunFailure` in every process of the node."""
    return _decided(decide, _node())


def wait_for_node() -> None:
    """Have the first process of this node wait until the others are here, for half a minute at most."""
    store, node = _store(), _node()
    if store is None:
        return
    key = f"here/{node.name}/{next(_numbers)}"
    if node.is_decided_here:
        _await_others(store, key, node.num_others)
    else:
        store.add(key, 1)


def wait_for_all() -> None:
    """Have the main process, with which the store may end, wait until the others heard what it decided."""
    store, num_others = _store(), _environment_number("WORLD_SIZE") - 1
    if store is None:
        return
    key = f"heard/{next(_numbers)}"
    if is_main_process():
        _await_others(store, key, num_others)
    else:
        store.add(key, 1)


@dataclass(frozen=True, slots=True)
class _Circle:
    """Processes that hear what one of them decides: whether that is this one, and how many others there are."""

    name: str
    is_decided_here: bool
    num_others: int


def _node() -> _Circle:
    """Return the processes of this node; its name is that of no other, whatever launched them."""
    name = f"{os.environ.get('GROUP_RANK', '0')}/{socket.gethostname()}"
    return _Circle(name, local_rank() == 0, num_on_node() - 1)


def num_on_node() -> int:
    """Count the run's processes on this node."""
    return _environment_number("LOCAL_WORLD_SIZE") if _store() is not None else 1


def _environment_number(name: str) -> int:
    return int(os.environ.get(name, "1"))


def _decided(decide: Callable[[], str], circle: _Circle) -> str:
    store = _store()
    if store is None:
        return decide()
    key = f"decision/{circle.name}/{next(_numbers)}"
    if not circle.is_decided_here:
        return _heard(store, key)
    try:
        decision = decide()
    except RunFailure as error:
        store.set(key, json.dumps({"failure": str(error), "exit_code": error.exit_code}))
        _await_others(store, f"{key}/heard", circle.num_others)
        raise
    store.set(key, json.dumps({"decision": decision}))
    return decision


def required(check: Callable[[], None]) -> None:
    """Have the main process check something; raises its `RunFailure` in every process."""

    def decide() -> str:
        check()
        return ""

    decided(decide)


def require_shared(folder: Path) -> None:
    """Raise `OutputRefused` in every process when the nodes of a run do not see the same folder."""
    store, num_nodes = _store(), int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    if store is None or num_nodes == 1:
        return
    place = folder / decided(lambda: _marked(folder))
    if local_rank() == 0:
        node = os.environ.get("GROUP_RANK", "0")
        store.set(f"seen/{node}", "yes" if _appears(place) else "no")
    required(lambda: _require_seen(store, place, num_nodes))


def _marked(folder: Path) -> str:
    """Write a file that no other folder has and return its name."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / f".kaitoc-{secrets.token_hex(8)}"
        place.touch()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputRefused(f"{folder}: the output folder cannot be written: {reason}") from error
    return place.name


def _appears(place: Path) -> bool:
    end = time.monotonic() + _SEEN_SECONDS
    while not place.exists():
        if time.monotonic() >= end:
            return False
        time.sleep(0.2)
    return True


def _require_seen(store: Any, place: Path, num_nodes: int) -> None:
    keys = [f"seen/{node}" for node in range(num_nodes)]
    store.wait(keys, _CONNECT)
    place.unlink(missing_ok=True)
    blind = [str(node) for node, key in enumerate(keys) if store.get(key) != b"yes"]
    if blind:
        nodes = f"node {blind[0]} does" if len(blind) == 1 else f"nodes {', '.join(blind)} do"
        raise OutputRefused(
            f"{place.parent}: {nodes} not see what node 0 writes there; with several nodes the output must be on "
            "storage that they share"
        )


def _await_others(store: Any, key: str, num_others: int) -> None:
    """Wait until all other processes counted themselves: a store ends with the main process or with its launcher."""
    end = time.monotonic() + _LISTENERS_SECONDS
    while store.add(key, 0) < num_others and time.monotonic() < end:
        time.sleep(0.05)


def _heard(store: Any, key: str) -> str:
    try:
        store.wait([key], _DECISION)
        content = json.loads(store.get(key))
    except RuntimeError as error:  # torch's errors of a store that is gone or that waits in vain
        raise RunFailure("lost the main process before training began") from error
    if "failure" in content:
        store.add(f"{key}/heard", 1)
        raise PeerFailure(content["failure"], content["exit_code"])
    return str(content["decision"])


@cache
def _store() -> Any:
    """Return the store that the launcher or the main process serves, None for a process that is alone."""
    if not is_launched() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(iter(rendezvous("env://", timeout=_CONNECT)))
    return PrefixStore("kaitoc", store)
