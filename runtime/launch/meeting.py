"""How the launchers of a run on several nodes meet at node 0, and how they notice that another is gone.

PyTorch's static rendezvous meets once and looks at nobody again: processes that have not connected to each other yet,
or whose peer froze with its connections open, would wait for a lost node for half an hour. Its agent asks a rendezvous
for new nodes several times a second, which is where this one looks at those that are there.
"""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from threading import Thread
from typing import Any

from torch._C._distributed_c10d import Store, TCPStore
from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.rendezvous import RendezvousInfo, RendezvousParameters, rendezvous_handler_registry
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous
from typing_extensions import override

from kaitoc.runtime.failures import EXIT_FAILED, EXIT_OUT_OF_MEMORY, EXIT_USAGE, RunFailure, in_words
from kaitoc.runtime.launch.nodes import NodeGroup
from kaitoc.runtime.peers import PeerFailure

_BACKEND = "kaitoc"
_MEETING_SECONDS = 900
"""How long nodes wait for each other: images of several GiB are pulled at different speeds."""
_BEAT_SECONDS = 2.0
_FAREWELL_SECONDS = 3.0
_PARTING_SECONDS = 15.0
"""How long a launcher that ends talks to a node 0 that may be frozen."""
_FINAL = frozenset({EXIT_USAGE, EXIT_OUT_OF_MEMORY})
_SILENT = "silent"
_HEARD = "silent/heard"


class SilentNodeError(SignalException):
    """A node that froze or is cut off, with its connections open.

    The processes here wait for it inside a library, where no handler of SIGTERM runs, so PyTorch's agent is told to
    kill them.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, signal.SIGKILL)


class Peers:
    """The launchers of all nodes, as one of them sees them through node 0's store.

    Node 0 counts the beats of the others; those ask its store, which answers as long as node 0 runs.
    """

    def __init__(self, group: NodeGroup) -> None:
        self._group = group
        self._store: Store | None = None
        self._looked = 0.0
        self._beats: dict[int, int] = {}
        self._changed: dict[int, float] = {}
        self._answered = 0.0
        self._lost: DistError | None = None
        self._silent = ""

    @property
    def launch_fields(self) -> dict[str, Any]:
        """Return the fields of a `LaunchConfig` by which the launchers meet."""
        rendezvous_handler_registry.register(_BACKEND, _meeting)
        return {
            "rdzv_backend": _BACKEND,
            "rdzv_endpoint": f"{self._group.address}:{self._group.port}",
            "rdzv_configs": {"rank": self._group.rank, "peers": self},
        }

    def meet(self, store: Store) -> None:
        """Begin to give signs of life, now that all nodes are there."""
        self._store, self._answered = store, time.monotonic()
        if self._group.rank != 0:
            Thread(target=self._beat, daemon=True).start()

    def require_all(self) -> None:
        """Raise where a node is lost: `SilentNodeError` for one that froze, else `RunFailure` or PyTorch's `DistError`.

        Node 0 looks at all, the others at node 0.
        """
        now = time.monotonic()
        if self._store is None or now - self._looked < _BEAT_SECONDS:
            return
        if (
            now - self._looked > self._group.silence_seconds / 2
        ):  # frozen itself, it cannot say for how long others were
            self._answered = now
            self._changed = dict.fromkeys(self._changed, now)
        self._looked = now
        if self._group.rank != 0:
            self._require_first(now)
            return
        for rank in range(1, self._group.num_nodes):
            self._require(self._store, rank, now)

    def _require_first(self, now: float) -> None:
        if self._silent:
            raise SilentNodeError(self._silent)
        if self._lost is not None:
            raise self._lost
        if now - self._answered >= self._group.silence_seconds:
            raise SilentNodeError(self._silence_of(0))

    def _require(self, store: Store, rank: int, now: float) -> None:
        code = _code_of(store, rank)
        if code is not None:
            if code != 0:
                raise PeerFailure(f"node {rank} ended with exit code {code}", code if code in _FINAL else EXIT_FAILED)
            return
        beat = store.add(_sign(rank), 0)
        if beat != self._beats.get(rank):
            self._beats[rank], self._changed[rank] = beat, now
        elif now - self._changed[rank] >= self._group.silence_seconds:
            self._announce(store, self._silence_of(rank))
            raise SilentNodeError(self._silence_of(rank))

    def _silence_of(self, rank: int) -> str:
        seconds = self._group.silence_seconds
        return f"node {rank} gave no sign of life for {seconds:g} s: it froze, or the network between the nodes is cut"

    def _announce(self, store: Store, text: str) -> None:
        """Tell the other nodes which one is silent, before the store ends with this process."""
        store.set(_SILENT, text)
        end = time.monotonic() + _FAREWELL_SECONDS + _BEAT_SECONDS
        while store.add(_HEARD, 0) < self._group.num_nodes - 2 and time.monotonic() < end:
            time.sleep(0.05)

    def part(self, code: int) -> int:
        """Tell the others with what this node ends, and return what it is to end with.

        A node that lost another one ends as that one does where it says that the run would fail again: retries are
        decided by the first code that is seen.
        """
        store = self._store
        if store is None:
            return code
        agreed: list[int] = []
        talk = Thread(target=lambda: agreed.append(self._agreed(store, code)), daemon=True)
        talk.start()
        talk.join(_PARTING_SECONDS)
        return agreed[0] if agreed else code

    def _agreed(self, store: Store, code: int) -> int:
        try:
            store.set(_end(self._group.rank), str(code))
            end = time.monotonic() + _FAREWELL_SECONDS
            while code == EXIT_FAILED or code in _FINAL:
                codes = [_code_of(store, rank) for rank in range(self._group.num_nodes)]
                if None not in codes or time.monotonic() >= end:
                    return next((other for other in codes if other in _FINAL), None) or code
                time.sleep(0.05)
        except DistError:  # node 0 is gone, and nobody is left to tell
            return code
        return code

    def lost(self, error: Exception) -> RunFailure:
        """Return the failure of a launcher that cannot reach node 0 any more."""
        return RunFailure(f"node {self._group.rank} lost node 0: {in_words(error)}")

    def not_met(self, error: Exception) -> RunFailure:
        """Return the failure of a launcher that waited for others in vain."""
        group = self._group
        where = f"at {group.address}:{group.port} within {_MEETING_SECONDS} s"
        return RunFailure(f"node {group.rank} of {group.num_nodes} did not meet the others {where}: {in_words(error)}")

    def _beat(self) -> None:
        """Give signs of life through a connection of its own: the launcher's is taken while it waits for the others."""
        group = self._group
        try:
            store = TCPStore(
                group.address, group.port, is_master=False, wait_for_workers=False,
                timeout=timedelta(seconds=group.silence_seconds),
            )  # fmt: skip
            while not self._silent:
                store.add(_sign(group.rank), 1)
                if store.check([_SILENT]):
                    store.add(_HEARD, 1)
                    self._silent = store.get(_SILENT).decode()
                self._answered = time.monotonic()
                time.sleep(_BEAT_SECONDS)
        except DistError as error:
            self._lost = error


class _Meeting(StaticTCPRendezvous):
    """A static rendezvous that looks at the other nodes whenever it is asked for new ones."""

    peers: Peers

    @override
    def get_backend(self) -> str:
        """Return the name by which launchers find this rendezvous."""
        return _BACKEND

    @override
    def next_rendezvous(self) -> RendezvousInfo:
        """Meet the others; raises `RunFailure` when they do not come."""
        try:
            met = super().next_rendezvous()
        except DistError as error:
            raise self.peers.not_met(error) from error
        if self._store is not None:  # which it now is
            self.peers.meet(self._store)
        return met

    @override
    def num_nodes_waiting(self) -> int:
        """Return 0, since no node joins later; raises `RunFailure` when another is lost."""
        self.peers.require_all()
        return 0


def _meeting(parameters: RendezvousParameters) -> _Meeting:
    address, _, port = parameters.endpoint.rpartition(":")
    rank, peers = parameters.config["rank"], parameters.config["peers"]
    meeting = _Meeting(address, int(port), rank, parameters.max_nodes, parameters.run_id, _MEETING_SECONDS)
    meeting.peers = peers
    return meeting


def _code_of(store: Store, rank: int) -> int | None:
    """Return with what a node ended, None as long as it goes on."""
    return int(store.get(_end(rank))) if store.check([_end(rank)]) else None


def _sign(rank: int) -> str:
    return f"alive/{rank}"


def _end(rank: int) -> str:
    return f"ended/{rank}"
