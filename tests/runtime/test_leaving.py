"""How a process of several leaves while collectives are under way."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch")

pytestmark = pytest.mark.runtime
PENDING = """
import os, socket, sys, torch
import torch.distributed as dist
from kaitoc.runtime.world import leave

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
children = []
for rank in range(2):
    child = os.fork()
    children.append(child)
    if child == 0:
        os.environ["LOCAL_RANK"] = str(rank)
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
        for _ in range(100):
            last = dist.all_reduce(torch.ones(1_000_000), async_op=True)
        leave(3)
print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""
"""Two processes that end with collectives under way: by `sys.exit` one of them aborts, at least."""


@pytest.mark.slow
def test_threads_of_collectives_do_not_abort_a_process_that_ends() -> None:
    ended = subprocess.run([sys.executable, "-c", PENDING], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["3", "3"], ended.stderr
