"""Launchers of several nodes meet at node 0, and notice which of them is lost."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("torch")

from node_runs import free_port
from torch.distributed import TCPStore
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from kaitoc.runtime.failures import RunFailure
from kaitoc.runtime.launch import meeting
from kaitoc.runtime.launch.meeting import Peers, SilentNodeError
from kaitoc.runtime.launch.nodes import NodeGroup

pytestmark = [pytest.mark.runtime, pytest.mark.slow]


def test_nodes_that_do_not_come_end_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "_MEETING_SECONDS", 1)
    group = NodeGroup(2, 1, 1, "127.0.0.1", free_port())
    fields = Peers(group).launch_fields
    parameters = RendezvousParameters(
        fields["rdzv_backend"], fields["rdzv_endpoint"], "test", 2, 2, **fields["rdzv_configs"]
    )

    with pytest.raises(RunFailure, match=r"node 1 of 2 did not meet the others at 127.0.0.1:\d+ within 1 s"):
        get_rendezvous_handler(parameters).next_rendezvous()


@pytest.fixture
def launchers(monkeypatch: pytest.MonkeyPatch) -> tuple[Peers, Peers, Peers]:
    """The launchers of three nodes that have met and look at each other all the time; none gives signs of life yet."""
    monkeypatch.setattr(meeting, "_BEAT_SECONDS", 0.0)
    port = free_port()
    peers = [Peers(NodeGroup(3, rank, 1, "127.0.0.1", port, silence_seconds=0.2)) for rank in range(3)]
    for rank, peer in enumerate(peers):
        peer._store = TCPStore("127.0.0.1", port, is_master=rank == 0, wait_for_workers=False)
    return peers[0], peers[1], peers[2]


def look_on(peers: Peers) -> None:
    while True:
        peers.require_all()
        time.sleep(0.01)


def test_a_silent_node_is_named_by_all_others(launchers: tuple[Peers, Peers, Peers]) -> None:
    first, _, third = launchers
    assert third._store is not None
    third.meet(third._store)

    with ThreadPoolExecutor() as pool:
        ends = [pool.submit(look_on, one) for one in (first, third)]

        for end in ends:
            with pytest.raises(SilentNodeError, match=r"node 1 gave no sign of life for 0.2 s") as caught:
                end.result(timeout=30)
            assert caught.value.sigval == signal.SIGKILL  # the processes that wait for the node hear no other signal


def test_a_silent_first_node_is_named(launchers: tuple[Peers, Peers, Peers]) -> None:
    _, second, _ = launchers
    second._answered = time.monotonic()

    with pytest.raises(SilentNodeError, match="node 0 gave no sign of life"):
        look_on(second)


def test_a_node_that_was_frozen_itself_blames_nobody_for_that_time(launchers: tuple[Peers, Peers, Peers]) -> None:
    first, second, third = launchers
    for one in launchers:
        one.require_all()
    time.sleep(0.3)

    for one in (first, second, third):
        one.require_all()


@pytest.mark.parametrize(("code", "expected"), [(1, 1), (2, 2), (3, 3), (143, 1)])
def test_a_node_that_lost_another_ends_as_that_one_says(
    launchers: tuple[Peers, Peers, Peers], code: int, expected: int
) -> None:
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(Peers.part, launchers, (1, code, 143))) == [expected, code, 143]


def test_a_node_that_failed_before_the_processes_met_ends_the_others(launchers: tuple[Peers, Peers, Peers]) -> None:
    launchers[1].part(3)

    with pytest.raises(RunFailure, match="node 1 ended with exit code 3") as caught:
        launchers[0].require_all()
    assert caught.value.exit_code == 3


def test_a_node_that_is_done_is_not_missed(launchers: tuple[Peers, Peers, Peers]) -> None:
    launchers[1].part(0)
    launchers[2].part(0)

    for _ in range(20):
        launchers[0].require_all()
        time.sleep(0.01)
