"""What NCCL holds on a GPU: buffers between the GPUs of one communicator, and the proxy's (read at 2.20.5 and 2.26.2).

Two A100 were measured at 544 MiB and a process of four at 688 (https://github.com/NVIDIA/nccl/issues/964), which is
what the sums below come to: 24 channels of one connection and 256 MiB for the proxy, and for a process at the end of a
chain half a connection more.
"""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
from kaitoc.compiler.core.units import MIB
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.workload import Workload

CONNECTION_BYTES = 2 * 6 * MIB
"""Per channel and neighbour, for sending and for receiving: 4 MiB of the Simple protocol, 0.5 of LL and 4.7 of LL128,
each side rounded up to 2 MiB (`computeBuffSizes` of `src/init.cc`, `p2pSendSetup`, `p2pRecvSetup` of
`src/transport/p2p.cc`, `CUDA_IPC_MIN`)."""
CHANNELS_NVLINK = 24
CHANNELS_PCIE = 4
MAX_CHANNELS = 32
"""`MAXCHANNELS` of `src/include/devcomm.h`."""

_PROXY_STEPS = 16
"""`NCCL_SHARED_STEPS` of `src/transport/net.cc`: chunks that the proxy keeps for each channel."""
_CHUNK_BYTES_NVLINK = MIB // 2
_CHUNK_BYTES = MIB // 8
"""`P2P_NVL_CHUNKSIZE`, where NVLink joins all GPUs of one machine, and `P2P_PCI_CHUNKSIZE`, `P2P_NET_CHUNKSIZE`."""


def buffer_bytes(workload: Workload, gpu: Gpu | None, num_channels: int | None = None) -> int:
    """Return the bytes of NCCL's buffers on a process with neighbours on both sides, by default for the usual channels.

    All processes are one communicator. Where groups of them share a copy, each group is one too, and so are the
    processes that hold the same shard. A ring and a tree of two GPUs have the same connection.
    """
    has_nvlink, sharding = gpu is None or gpu.nvlink, workload.sharding
    channels = num_channels or (CHANNELS_NVLINK if has_nvlink else CHANNELS_PCIE)
    group = sharding.group_of(workload.num_gpus)
    is_joined = has_nvlink and sharding.num_nodes == 1
    return _bytes_of(channels, workload.num_gpus, group, is_joined, _connects_when_used(workload.stack))


@lru_cache(maxsize=256)
def _bytes_of(channels: int, num_gpus: int, group: int, is_joined: bool, connects_when_used: bool) -> int:
    sizes = [num_gpus, *((group, num_gpus // group) if 1 < group < num_gpus else ())]
    num_connections = sum(1 if size == 2 else 2 for size in sizes)
    buffers = channels * num_connections * CONNECTION_BYTES
    if connects_when_used:
        return buffers
    chunk = _CHUNK_BYTES_NVLINK if is_joined else _CHUNK_BYTES
    return buffers + len(sizes) * _next_power_of_two(channels) * _PROXY_STEPS * chunk


@lru_cache(maxsize=64)
def _connects_when_used(stack: str) -> bool:
    """Return whether NCCL leaves the proxy's buffers until a network is used."""
    return changes()[LibraryChange.NCCL_CONNECTS_WHEN_USED].includes(find_stack(stack).torch)


def _next_power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
