"""What a user asks for of several GPUs, and what the software of a stack makes of it."""

from __future__ import annotations

from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory.sharding.model import Offload, Sharding, ShardingKind, Wrap
from kaitoc.compiler.memory.stacks import KAITO_PREFIX, Stack, find_stack
from kaitoc.compiler.memory.workload import Quantization, Reference, Workload

SHARDING_WORDS = ("auto", "ddp", "fsdp2", "fsdp1", "zero3", "fsdp")
"""What `--sharding` takes in every command, and plans hold; `fsdp` is an earlier name of fsdp2."""

EARLIER_NAMES = {"fsdp": "fsdp2"}

NOT_RUN = ("fsdp1", "zero3")
"""What is estimated for others' launchers, and the bundled runtime does not do."""

PREFETCHES_BACKWARD = False
"""FSDP1 of TrainingArguments gathers nothing ahead unless `fsdp_config` says so (`_process_fsdp_args` of
`transformers/training_args.py`)."""


@dataclass(frozen=True, slots=True)
class SharingRequest:
    """How several GPUs are to share a model; `word` is one of `SHARDING_WORDS`."""

    word: str = "auto"
    num_nodes: int = 1
    shard_group: int | None = None
    reshards: bool = True
    offload: Offload = Offload.NONE

    @property
    def is_sharded(self) -> bool:
        """Whether it names a way of splitting the model."""
        return self.word not in ("auto", "ddp")


AS_THE_STACK_DOES = SharingRequest()
"""Nothing is asked for: one node, shared as the software does by itself."""


FULL_SHARD = "full_shard"
"""The word of `fsdp` in training arguments that splits weights, gradients and states, as the bundled runtime does."""

_WRAPS = frozenset(("auto_wrap",))
"""Words of `fsdp` that change nothing: transformers wraps by layers in any case."""


def request_in(fsdp: object) -> SharingRequest | None:
    """Return the sharding that the training argument `fsdp` requests, AS_THE_STACK_DOES where it requests none.

    None is for words that the bundled runtime does not follow.
    """
    if not fsdp or fsdp in ("False", "false"):
        return AS_THE_STACK_DOES
    if fsdp is True or fsdp in ("True", "true"):
        return SharingRequest("fsdp2")
    words = fsdp.replace(",", " ").split() if isinstance(fsdp, str) else fsdp
    if not isinstance(words, (list, tuple)):
        return None
    return SharingRequest("fsdp2") if set(map(str, words)) - _WRAPS == {FULL_SHARD} else None


def sharding_for(request: SharingRequest, stack: Stack) -> Sharding:
    """Resolve a request for a stack, whose defaults fill what the request leaves open."""
    word = EARLIER_NAMES.get(request.word, request.word)
    has_tail = changes()[LibraryChange.TAIL_UNITS].includes(stack.accelerate)
    kind = stack.default_sharding if word == "auto" else ShardingKind(word)
    reads_once = kind is ShardingKind.FSDP1 and stack.ram_efficient_loading
    goes_to_host = changes()[LibraryChange.QUANTIZED_ON_HOST].includes(stack.transformers)
    leaves_empty = changes()[LibraryChange.EMPTY_QUANTIZED_SHARDS].includes(stack.transformers)
    return Sharding(
        kind=kind,
        num_nodes=request.num_nodes,
        shard_group=request.shard_group,
        reshard_after_forward=request.reshards,
        wrap=Wrap.TAIL if has_tail and kind is not ShardingKind.FSDP1 else Wrap.ROOT,
        prefetches_backward=PREFETCHES_BACKWARD,
        offload=request.offload,
        ram_efficient_loading=stack.ram_efficient_loading,
        packed_on_host=goes_to_host and (reads_once or kind is ShardingKind.ZERO3),
        others_hold_nothing=leaves_empty and reads_once,
    )


def sharded(workload: Workload) -> Sharding:
    """Split a workload over the same GPUs and nodes, with FSDP2 where its stack has it."""
    stack = find_stack(workload.stack)
    sharding = sharding_for(SharingRequest(word_of_shards(stack), workload.sharding.num_nodes), stack)
    return replace(sharding, sync_each_batch=workload.sharding.sync_each_batch)


def word_of_shards(stack: Stack) -> str:
    """Return the word of `--sharding` that splits a model on a stack, Kaito's being left to another launcher."""
    return "fsdp2" if not can_shard(stack) or has_fsdp2(stack) else "fsdp1"


def has_fsdp2(stack: Stack) -> bool:
    """Return whether a stack's accelerate shards with FSDP2."""
    return changes()[LibraryChange.FSDP2].includes(stack.accelerate)


def why_whole(workload: Workload) -> str:
    """Return why GPUs can only hold whole copies of a workload's model; empty where they could split it."""
    if workload.quantization is Quantization.INT8:
        return "8-bit weights cannot be sharded; use 4-bit (nf4)"
    if workload.quantization.is_packed:
        return f"sharded {workload.quantization.value} weights are not predicted; use nf4"
    is_copied = workload.reference is Reference.COPY
    return "a fully fine-tuned model cannot be sharded with its reference (dpo); use lora or qlora" if is_copied else ""


def can_shard(stack: Stack) -> bool:
    """Return whether a stack's software can split a model: Kaito's image starts whole copies only."""
    return not stack.name.startswith(KAITO_PREFIX)
