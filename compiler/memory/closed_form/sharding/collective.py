"""What the processes of a job send each other in a step: one collective operation of NCCL at a time."""

from __future__ import annotations

from enum import Enum

from kaitoc.compiler.core.records import dataclass


class CollectiveKind(str, Enum):
    """The operations that sharding and DDP are made of."""

    GATHER = "all-gather"
    REDUCE_SCATTER = "reduce-scatter"
    ALL_REDUCE = "all-reduce"


class Cover(str, Enum):
    """The computation that a collective can run beside. NOTHING: computation waits for it, or is over."""

    NOTHING = "nothing"
    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True, slots=True)
class Collective:
    """One collective. `num_bytes` are those of the whole, put together, not those of one process's share.

    `copied_bytes` are read and written on the computation's own stream to bring data into its buffer or out of it.
    `joins_replicas`: the processes that hold the same shard take part, and not those that share one copy.
    """

    kind: CollectiveKind
    num_bytes: int
    copied_bytes: int = 0
    joins_replicas: bool = False


@dataclass(frozen=True, slots=True)
class CoveredCollectives:
    """Equal collectives of one batch that run beside the same computation."""

    collective: Collective
    cover: Cover
    count: int
