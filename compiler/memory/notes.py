"""What an answer for several GPUs assumes, and what of a request it leaves out."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
from kaitoc.compiler.memory.device import knows_links
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.memory.sharding.model import Offload, Sharding, ShardingKind
from kaitoc.compiler.memory.sharing import (
    EARLIER_NAMES,
    NOT_RUN,
    SharingRequest,
    can_shard,
    has_fsdp2,
    why_whole,
    word_of_shards,
)
from kaitoc.compiler.memory.stacks import BUNDLED, Stack, find_stack
from kaitoc.compiler.memory.variation import unreplayed
from kaitoc.compiler.memory.workload import Reference, Workload


def notes_on(
    request: SharingRequest, workload: Workload, gpu: Gpu | None, predicted: Footprint, *, asks_offload: bool
) -> Iterator[str]:
    """Yield the notes on a step and on what was asked of its GPUs; the prediction knows what `auto` came to.

    `asks_offload`: saved activations are to go to the host, whether or not that is predicted.
    """
    is_split = predicted.sharding.is_sharded
    launcher = _launcher_note(request, find_stack(workload.stack), is_split=is_split)
    if launcher:
        yield launcher
    if not is_split and gpu is not None and is_kept_whole(workload, predicted, gpu):
        yield kept_whole(workload)
    if workload.num_gpus > 1 and not knows_links(gpu):
        links = "NVLink" if gpu is None or gpu.nvlink else "PCIe"
        yield f"the link between the GPUs is not known; assuming {links} for NCCL's buffers"
    if asks_offload and (is_split or not workload.offloads_activations):
        step = "shards" if is_split else "preference (dpo) runs" if workload.reference is not Reference.NONE else ""
        yield (f"activation offload is not predicted for {step or workload.stack}; activations are counted on the GPU")
    if not is_split and request.word == "auto":
        for option in _options_of_shards(request):
            yield f"{option} has no effect: {_whole(workload)}"


def is_kept_whole(workload: Workload, predicted: Footprint, gpu: Gpu) -> bool:
    """Return whether `auto` would split a model that no GPU holds, if it could be split."""
    could_split = workload.sharding.kind is ShardingKind.AUTO and workload.num_gpus > 1 and bool(why_whole(workload))
    return could_split and predicted.allocated_bytes + predicted.context_bytes > gpu.memory_bytes


def kept_whole(workload: Workload) -> str:
    """Say why `auto` does not split a model that outgrows the GPU."""
    return f"auto keeps whole copies (ddp), although one outgrows the GPU: {why_whole(workload)}"


def whole_copies_held(workload: Workload) -> str:
    """Say that each GPU holds a whole copy, with what would split the model or why nothing does."""
    why = why_whole(workload)
    if why:
        return f"each GPU holds a whole copy (ddp): {why}"
    word = word_of_shards(find_stack(workload.stack))
    return f"each GPU holds a whole copy (ddp); --sharding {word} shards the model"


def notes_on_lengths(workload: Workload, sharding: Sharding) -> Iterator[str]:
    """Yield the notes on batches of rows whose lengths are stated."""
    kind = unreplayed(workload, sharding)
    if kind:
        yield f"varying lengths are not replayed for {kind}; every batch is taken to be as long as the longest"
        return
    approximate = "offloaded activations" if workload.offloads_activations else ""
    if not approximate and workload.lora is not None and workload.lora.dora:
        approximate = "DoRA"
    if approximate:
        yield (
            f"with varying lengths and {approximate} reserved memory is approximate: the order in which temporary "
            "tensors come is not replayed, by which it can be up to a sixth off"
        )


def _launcher_note(request: SharingRequest, stack: Stack, *, is_split: bool) -> str:
    """Return the note on a way of sharing that a stack's software cannot do, empty where it can."""
    kind = [f"--sharding {request.word}"] if request.word in NOT_RUN else []
    ways = kind + [option for option in _options_of_shards(request) if not option.startswith("--shard-group")]
    if request.is_sharded and not can_shard(stack):
        launcher = "another launcher" if ways else "`kaitoc run` or another launcher"
        return f"the image of {stack.name} runs whole copies only (ddp); `{request.word}` needs {launcher}"
    if is_split and EARLIER_NAMES.get(request.word, request.word) == "fsdp2" and not has_fsdp2(stack):
        since = ".".join(map(str, changes()[LibraryChange.FSDP2].since))
        return (
            f"accelerate {stack.accelerate} of {stack.name} has no FSDP2; predicted with that of accelerate {since}, "
            "or use --sharding fsdp1"
        )
    if stack.name != BUNDLED or not is_split:
        return ""
    return f"`kaitoc run` does not support {' and '.join(ways)}; use another launcher for it" if ways else ""


def _options_of_shards(request: SharingRequest) -> list[str]:
    """List the options that say how shards are held, as they are typed."""
    stated = {
        f"--shard-group {request.shard_group}": request.shard_group is not None,
        "--no-reshard": not request.reshards,
        f"--offload {request.offload.value}": request.offload is not Offload.NONE,
    }
    return [option for option, is_stated in stated.items() if is_stated]


def _whole(workload: Workload) -> str:
    """Explain what keeps the model whole."""
    if workload.num_gpus == 1:
        return "one GPU holds the whole model"
    return whole_copies_held(workload)
