"""What an answer for several GPUs assumes, and what of a request it leaves out."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.memory.device import knows_links
from kaitoc.compiler.memory.sharding.model import Offload, Sharding
from kaitoc.compiler.memory.sharing import NOT_RUN, SharingRequest, can_shard
from kaitoc.compiler.memory.stacks import BUNDLED, Stack, find_stack
from kaitoc.compiler.memory.workload import Reference, Workload

WHOLE_COPIES_HELD = "each GPU holds a whole copy (ddp); --sharding fsdp2 shards the model"
UNREPLAYED_LENGTHS = "varying lengths are not replayed for sharded, traced and preference (dpo) runs"


def notes_on(
    request: SharingRequest, workload: Workload, gpu: Gpu | None, sharding: Sharding, *, asks_offload: bool
) -> Iterator[str]:
    """Yield the notes on a step and on what was asked of its GPUs; `sharding` is what `auto` came to.

    `asks_offload`: saved activations are to go to the host, whether or not that is predicted.
    """
    is_split = sharding.is_sharded
    launcher = _launcher_note(request, find_stack(workload.stack), is_split=is_split)
    if launcher:
        yield launcher
    if workload.num_gpus > 1 and not knows_links(gpu):
        links = "NVLink" if gpu is None or gpu.nvlink else "PCIe"
        yield f"the link between the GPUs is not known; assuming {links} for NCCL's buffers"
    if asks_offload and (is_split or not workload.offloads_activations):
        step = "shards" if is_split else "preference (dpo) runs" if workload.reference is not Reference.NONE else ""
        yield (f"activation offload is not predicted for {step or workload.stack}; activations are counted on the GPU")
    if not is_split and request.word == "auto":
        for option in _options_of_shards(request):
            yield f"{option} has no effect: {_whole(workload)}"


def _launcher_note(request: SharingRequest, stack: Stack, *, is_split: bool) -> str:
    """Return the note on a way of sharing that a stack's software cannot do, empty where it can."""
    if request.is_sharded and not can_shard(stack):
        return (
            f"the image of {stack.name} runs whole copies only (ddp); `{request.word}` needs `kaitoc run` or another "
            "launcher"
        )
    if stack.name != BUNDLED or not is_split:
        return ""
    kind = [f"--sharding {request.word}"] if request.word in NOT_RUN else []
    ways = kind + [option for option in _options_of_shards(request) if not option.startswith("--shard-group")]
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
    return WHOLE_COPIES_HELD
