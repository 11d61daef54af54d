"""What joins the GPUs of a job, and how long a collective takes over it."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType, stand_in_for
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.units import BYTES_PER_GBIT
from kaitoc.compiler.memory.closed_form.sharding.collective import Collective, CollectiveKind
from kaitoc.compiler.memory.nccl import CHANNELS_NVLINK, CHANNELS_PCIE
from kaitoc.compiler.memory.workload import Workload
from kaitoc.schemas import read_json

_PAIR = 2


@dataclass(frozen=True, slots=True)
class Link:
    """One kind of link: bytes per second and GPU in each direction, and the time of a hop.

    `all_reduce_bytes_per_second` is higher where the switch adds up by itself (NVLink SHARP).
    """

    bytes_per_second: float
    all_reduce_bytes_per_second: float
    hop_seconds: float


@dataclass(frozen=True, slots=True)
class Links:
    """The links of a job's GPUs. `network` is that of one machine, None where all GPUs stand on one.

    `num_channels` are the blocks that NCCL's kernels run in, one to a multiprocessor.
    """

    inside: Link
    network: Link | None
    gpus_per_node: int
    num_channels: int
    base_seconds: float

    def seconds(self, collective: Collective, num_gpus: int, shard_group: int) -> float:
        """Return the time of a ring (Patarasuk and Yuan 2009) at the bandwidths and latencies that NCCL counts on."""
        reduces_all = collective.kind is CollectiveKind.ALL_REDUCE
        num_rounds = 2 if reduces_all else 1
        num_steps = (ranks_of(collective, num_gpus, shard_group) - 1) * num_rounds
        inside, network = self.inside, self.network
        rate = inside.all_reduce_bytes_per_second if reduces_all else inside.bytes_per_second
        latency = self.base_seconds + num_steps * inside.hop_seconds
        num_nodes = self._num_nodes(collective, num_gpus, shard_group)
        if network is not None and num_nodes > 1:
            num_rings = min(shard_group, self.gpus_per_node) if collective.joins_replicas else 1
            rate = min(inside.bytes_per_second, network.bytes_per_second / num_rings)
            latency += (num_nodes - 1) * num_rounds * (network.hop_seconds - inside.hop_seconds)
        return latency + sent_bytes(collective, num_gpus, shard_group) / rate

    def _num_nodes(self, collective: Collective, num_gpus: int, shard_group: int) -> int:
        """Return the machines that a collective reaches: copies of the model lie one after the other."""
        if collective.joins_replicas:
            return num_gpus // max(self.gpus_per_node, shard_group)
        return shard_group // self.gpus_per_node


def ranks_of(collective: Collective, num_gpus: int, shard_group: int) -> int:
    """Count the processes that take part in a collective."""
    return num_gpus // shard_group if collective.joins_replicas else shard_group


def sent_bytes(collective: Collective, num_gpus: int, shard_group: int) -> float:
    """Return the bytes that each process sends around the ring: all but its own part, twice for an all-reduce."""
    ranks = ranks_of(collective, num_gpus, shard_group)
    num_rounds = 2 if collective.kind is CollectiveKind.ALL_REDUCE else 1
    return collective.num_bytes * num_rounds * (ranks - 1) / ranks


@dataclass(frozen=True, slots=True)
class KnownLinks:
    """The links that an answer is computed with, and the slowest and fastest that they can be.

    `assumptions` say what had to be assumed, empty where everything is known.
    """

    likely: Links
    slowest: Links
    fastest: Links
    assumptions: tuple[str, ...]


def links_of(workload: Workload, gpu: Gpu, instance: InstanceType | None) -> KnownLinks:
    """Return the links of a workload's GPUs on a kind of machine, None for GPUs that are only known by themselves."""
    num_nodes = workload.sharding.num_nodes
    return links_between(gpu, instance, workload.num_gpus // num_nodes, num_nodes)


@lru_cache(maxsize=64)
def links_between(gpu: Gpu, instance: InstanceType | None, gpus_per_node: int, num_nodes: int) -> KnownLinks:
    """Return the links of so many GPUs on each of so many machines of a kind."""
    data = read_json("catalog/throughput")["links"]
    hops, assumptions = data["hop_seconds"], []
    over_pcie = _same(data["pcie_bytes_per_second"][str(gpu.pcie_generation)], hops["pcie"])
    stand_in = stand_in_for(gpu)
    over_nvlink = _nvlink(stand_in or gpu, data, gpus_per_node)

    def links(by_nvlink: bool, network: Link | None) -> Links:
        inside, channels = (over_nvlink, CHANNELS_NVLINK) if by_nvlink else (over_pcie, CHANNELS_PCIE)
        return Links(inside, network, gpus_per_node, channels, data["base_seconds"])

    joined = instance.joins_gpus_by_nvlink if instance is not None else gpu.nvlink
    may_have_nvlink = gpu.nvlink or stand_in is not None
    is_known = gpus_per_node == 1 or not may_have_nvlink or (instance is not None and joined is not None)
    if not is_known:
        where = f"the GPUs of {instance.name}" if instance is not None else "the GPUs"
        assumptions.append(f"{'NVLink' if joined else 'PCIe'} is assumed between {where}")
    network = slow = fast = None
    if num_nodes > 1:
        share, known = data["network_share"], instance.network_bytes_per_second if instance is not None else None
        assumed = data["assumed_network_gbit_per_second"]
        rates = [known or assumed[which] * BYTES_PER_GBIT for which in ("likely", "slowest", "fastest")]
        network, slow, fast = (_same(rate * share, hops["network"]) for rate in rates)
        if known is None:
            assumptions.append(f"a network of {assumed['likely']} Gbit/s is assumed between machines")
    return KnownLinks(
        likely=links(bool(joined), network),
        slowest=links(bool(joined) and is_known, slow),
        fastest=links(bool(joined) if is_known else may_have_nvlink, fast),
        assumptions=tuple(assumptions),
    )


def _same(bytes_per_second: float, hop_seconds: float) -> Link:
    return Link(bytes_per_second, bytes_per_second, hop_seconds)


def _nvlink(gpu: Gpu, data: dict[str, dict[str, float]], gpus_per_node: int) -> Link:
    link = _same(gpu.nvlink_bytes_per_second, data["hop_seconds"]["nvlink"])
    adding = data["nvlink_sharp_bytes_per_second"].get(gpu.generation)
    if adding is None or gpus_per_node <= _PAIR:
        return link
    return replace(link, all_reduce_bytes_per_second=adding)
