"""How the processes of a job share one model."""

from __future__ import annotations

from enum import Enum

from kaitoc.compiler.core.records import dataclass

MAX_GPUS = 100_000
"""The most GPUs that one job may have; a larger number is taken for a typing error."""


class ShardingKind(str, Enum):
    """What each process holds: a whole copy (DDP), or its shard of all states (FSDP and ZeRO-3).

    AUTO is DDP while a whole copy fits the GPU, else FSDP2; which of both it comes to, the footprint decides.
    """

    AUTO = "auto"
    DDP = "ddp"
    FSDP1 = "fsdp1"
    FSDP2 = "fsdp2"
    ZERO3 = "zero3"

    @property
    def is_fsdp(self) -> bool:
        """Whether PyTorch shards, and not DeepSpeed."""
        return self in (ShardingKind.FSDP1, ShardingKind.FSDP2)


class Wrap(str, Enum):
    """What is gathered together besides the decoder layers, which are each a unit of their own.

    ROOT: embedding, final norm and head belong to the root and stay gathered from the start of the forward pass to the
    end of the backward pass. TAIL: the embedding is a unit, norm and head are another that is not resharded between
    forward and backward; with tied weights the embedding is part of that one (`fsdp2_prepare_model` of accelerate).
    """

    ROOT = "root"
    TAIL = "tail"


class Offload(str, Enum):
    """What lives in the host's memory instead of the GPU's. PARAMETERS takes gradients and optimizer states along."""

    NONE = "none"
    OPTIMIZER = "optimizer"
    PARAMETERS = "parameters"


@dataclass(frozen=True, slots=True)
class Sharding:
    """A kind of sharding with the numbers that decide its memory and traffic.

    `num_nodes` are the machines that the GPUs stand on. `shard_group` GPUs hold one copy together, all of the job where
    it is None, or with AUTO those of a node; more groups are replicas of each other (hybrid sharding).
    `reshard_after_forward` False keeps the weights gathered until a layer has gone back. `prefetches_backward`: FSDP1
    gathers the next layer while one goes back (`BACKWARD_PRE`), as FSDP2 always does. `ram_efficient_loading`: only one
    process of a node reads the weights. `packed_on_host`: 4-bit weights wait in host memory until they are split, and
    not on the GPU that packed them. `others_hold_nothing`: of those, the other processes of a node have none until they
    are sent. `sync_each_batch`: gradients are reduced after every batch of an accumulation, and not kept whole until
    the last. Mixed precision needs no field: `bf16` and `fp16` of the Trainer are what the shards are gathered and
    reduced in (`set_mixed_precision` of accelerate).
    """

    kind: ShardingKind = ShardingKind.DDP
    num_nodes: int = 1
    shard_group: int | None = None
    reshard_after_forward: bool = True
    wrap: Wrap = Wrap.TAIL
    prefetches_backward: bool = True
    offload: Offload = Offload.NONE
    ram_efficient_loading: bool = False
    packed_on_host: bool = False
    others_hold_nothing: bool = False
    sync_each_batch: bool = False

    @property
    def is_sharded(self) -> bool:
        """Whether a process holds less than a whole copy; AUTO counts as whole until it is decided."""
        return self.kind not in (ShardingKind.DDP, ShardingKind.AUTO)

    def group_of(self, num_gpus: int) -> int:
        """Count the GPUs, of a job's total, that together hold one copy of the model."""
        return self.shard_group or num_gpus if self.is_sharded else 1


WHOLE_COPIES = Sharding()
"""Every GPU holds the whole model; the only way for one GPU."""
