"""The answer of the memory engine: bytes by category and by phase, and what the device must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from functools import cached_property
from operator import attrgetter

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.sharding.model import WHOLE_COPIES, Sharding


class Phase(str, Enum):
    """The phases of a fine-tune in which memory can peak, in order; only shards are put together to be saved."""

    LOAD = "load"
    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    SAVE = "save"


class Verdict(str, Enum):
    """Whether a run fits: surely, only if the estimate errs on the high side, or not."""

    FITS = "fits"
    TIGHT = "tight"
    DOES_NOT_FIT = "does not fit"


class Category(str, Enum):
    """What memory is held for, in the order in which reports list it. Each is a field of `Categories`."""

    WEIGHTS = "weights"
    ADAPTERS = "adapters"
    GRADIENTS = "gradients"
    OPTIMIZER = "optimizer"
    ACTIVATIONS = "activations"
    LOGITS = "logits"
    WORKSPACE = "workspace"

    @property
    def words(self) -> str:
        """Format the category for messages, such as `optimizer states`."""
        return "optimizer states" if self is Category.OPTIMIZER else self.value


@dataclass(frozen=True, slots=True)
class Categories:
    """Bytes live at one moment, by what they are for. `workspace` is library and kernel scratch memory
    (cuBLAS, dequantization buffers, softmax temporaries).
    """

    weights: int = 0
    adapters: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    logits: int = 0
    workspace: int = 0

    def items(self) -> Iterator[tuple[Category, int]]:
        """Yield every category with its bytes."""
        return zip(Category, _sizes(self), strict=True)

    @property
    def total(self) -> int:
        """Return the sum, the bytes that PyTorch reports as allocated."""
        return sum(_sizes(self))


_sizes: Callable[[Categories], tuple[int, ...]] = attrgetter(*(category.value for category in Category))


@dataclass(frozen=True, slots=True)
class PhasePeak:
    """The highest moment of one phase."""

    phase: Phase
    categories: Categories

    @property
    def allocated_bytes(self) -> int:
        """Return the allocated bytes at this moment."""
        return self.categories.total


@dataclass(frozen=True)
class Footprint:
    """What one workload needs on one GPU, in bytes; of several GPUs each needs as much.

    `phases` are the peaks per phase in order; the largest is the peak. `fragmentation_bytes` is reserved minus
    allocated at the peak, `context_bytes` what the CUDA context and libraries hold outside PyTorch's allocator.
    `low_bytes` and `high_bytes` bound the device total. `sharding` is how `num_gpus` share the model, with what `auto`
    came to; `host_bytes` is what the processes of one node hold outside of GPUs, None where only the trace ran.
    """

    phases: tuple[PhasePeak, ...]
    num_trainable_parameters: int
    fragmentation_bytes: int
    context_bytes: int
    low_bytes: int
    high_bytes: int
    num_gpus: int = 1
    sharding: Sharding = WHOLE_COPIES
    host_bytes: int | None = None

    @cached_property
    def peak(self) -> PhasePeak:
        """Return the phase in which the allocated bytes are highest."""
        return max(self.phases, key=lambda phase: phase.allocated_bytes)

    @cached_property
    def allocated_bytes(self) -> int:
        """Return the peak of live tensor bytes, `torch.cuda.max_memory_allocated`."""
        return self.peak.allocated_bytes

    @property
    def reserved_bytes(self) -> int:
        """Return the peak that the caching allocator holds, `torch.cuda.max_memory_reserved`."""
        return self.allocated_bytes + self.fragmentation_bytes

    @property
    def device_bytes(self) -> int:
        """Return the bytes that nvidia-smi would show: reserved plus context."""
        return self.reserved_bytes + self.context_bytes


def parts_of(footprint: Footprint) -> dict[str, int]:
    """Break the device bytes down by name: the categories at the peak, fragmentation, context."""
    parts = {category.value: num_bytes for category, num_bytes in footprint.peak.categories.items()}
    return {**parts, "fragmentation": footprint.fragmentation_bytes, "context": footprint.context_bytes}
