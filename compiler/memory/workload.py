"""The question put to the memory engine: one training step of one model, on one GPU or on several that share it.

Both engines, the closed form and the trace, take a `Workload` and answer with a `Footprint`, so that each can be
held to the other.
"""

from __future__ import annotations

from enum import Enum

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.sharding.model import WHOLE_COPIES, Sharding, Wrap


class WorkloadError(KaitocError, ValueError):
    """A workload that no run can have (rank 0, negative length, ...); `str(error)` is for the user."""


class Quantization(str, Enum):
    """How the frozen linear weights are stored: by bitsandbytes while they are loaded, or in the checkpoint.

    GPTQ and AWQ checkpoints have 4-bit integers packed into int32, with a scale and a zero point per group.
    """

    NONE = "none"
    NF4 = "nf4"
    FP4 = "fp4"
    INT8 = "int8"
    GPTQ = "gptq"
    AWQ = "awq"

    @property
    def is_packed(self) -> bool:
        """Return whether the checkpoint is quantized already."""
        return self in (Quantization.GPTQ, Quantization.AWQ)


_NUM_BYTES = {"float64": 8, "float32": 4}


class Dtype(str, Enum):
    """A floating-point type of weights or adapters."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"

    @property
    def num_bytes(self) -> int:
        """Return the size of one element in bytes."""
        return _NUM_BYTES.get(self.value, 2)


class Attention(str, Enum):
    """The attention implementation, by the names users know."""

    EAGER = "eager"
    SDPA = "sdpa"
    FLASH = "flash"


class Kernels(str, Enum):
    """The generation of attention kernels that PyTorch has for a device, by the first that has them.

    AMPERE: flash and memory-efficient ones for half precision. BEFORE_AMPERE (compute capability below 8.0): no flash
    kernel, and none for bfloat16. CPU: one kernel that takes fewer key heads in any precision
    (`aten/src/ATen/native/transformers/sdp_utils_cpp.cpp`, `use_flash_attention_cpp`).
    """

    AMPERE = "ampere"
    BEFORE_AMPERE = "before ampere"
    CPU = "cpu"


class Reference(str, Enum):
    """What a step of direct preference optimization compares the trained model with, by a forward pass of its own.

    BASE is the model with its adapters off, COPY a frozen copy of a model that is trained whole; NONE learns text.
    """

    NONE = "none"
    BASE = "base"
    COPY = "copy"


class Loss(str, Enum):
    """How the cross-entropy over the vocabulary is computed.

    CHUNKED and FUSED are TRL's; LIGER is Liger Kernel's fused linear cross-entropy, CCE Apple's cut cross-entropy.
    """

    FULL = "full"
    CHUNKED = "chunked"
    FUSED = "fused"
    LIGER = "liger"
    CCE = "cce"


NEWEST_LIGER = "0.8.5"
"""The newest liger-kernel whose code was read."""


class Optimizer(str, Enum):
    """Optimizers the engine knows, by the names of `--optimizer`."""

    ADAMW = "adamw"
    ADAMW_FUSED = "adamw_fused"
    ADAMW_8BIT = "adamw_8bit"
    PAGED_ADAMW_8BIT = "paged_adamw_8bit"
    ADAFACTOR = "adafactor"
    SGD = "sgd"


OPTIMIZERS_BY_OPTIM = {
    "adamw_torch": Optimizer.ADAMW,
    "adamw_hf": Optimizer.ADAMW,
    "adamw_torch_fused": Optimizer.ADAMW_FUSED,
    "adamw_8bit": Optimizer.ADAMW_8BIT,
    "adamw_bnb_8bit": Optimizer.ADAMW_8BIT,
    "paged_adamw_8bit": Optimizer.PAGED_ADAMW_8BIT,
    "adafactor": Optimizer.ADAFACTOR,
    "sgd": Optimizer.SGD,
}
"""The optimizers by the names of transformers' `optim` (`OptimizerNames`, 4.38 to 5.23)."""


class Allocator(str, Enum):
    """PyTorch's caching allocator with or without `expandable_segments:True`."""

    DEFAULT = "default"
    EXPANDABLE = "expandable"


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA adapter. `targets` are module names as PEFT matches them, or `("all-linear",)`.

    `dtype` None means what the stack makes of it (fp32 where PEFT autocasts adapters, else the weights' dtype).
    `rank_pattern` and `alpha_pattern` are (module regex, value) pairs in PEFT's order.
    """

    rank: int = 8
    alpha: float = 8.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("all-linear",)
    dora: bool = False
    rslora: bool = False
    modules_to_save: tuple[str, ...] = ()
    rank_pattern: tuple[tuple[str, int], ...] = ()
    alpha_pattern: tuple[tuple[str, float], ...] = ()
    dtype: Dtype | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """One training step: what is loaded, what is trained, how large the batch is, and on which software stack.

    `group_size` is that of GPTQ and AWQ weights, 0 where a column is one group.

    `lora` None means full fine-tuning. `seq_len_tokens` is the padded length of the batch. `autocast` is the mixed
    precision of the Trainer (`bf16=True` -> BFLOAT16), None when it is off. `stack` names a profile of
    `kaitoc.compiler.memory.stacks`. `kbit_prep` is whether `prepare_model_for_kbit_training` runs. `is_padded`: rows of
    a batch differ in length, so that attention takes a mask. `accumulates`: gradients of earlier batches are
    held, as with `gradient_accumulation_steps` above 1. `kernels`: what PyTorch has for the device;
    `device.as_run_on` tells it from the GPU. `holds_outputs`: the loop's variable keeps a step's outputs, the logits
    and the key-value cache, until those of the next one are there. `num_gpus` are those of the whole job, one process
    each; `sharding` is how they share the model. With a `reference`, the rows of a batch are pairs: a chosen and a
    rejected answer each. `liger_version` is that of liger-kernel, where it computes the loss. `steps_in_backward`: each
    parameter has an optimizer of its own, which steps once its gradient is there and drops it
    (`register_post_accumulate_grad_hook`; torchtune's `optimizer_in_bwd`). `offloads_activations`: what autograd
    saves goes to the host's memory (TRL's `activation_offloading`). `loaded_dtype`: weights
    that were loaded in that type are put together for a layer in the type of `autocast`, those too that `kbit_prep`
    widened; None where none are put together. `cast_units`: FSDP2's units, whose results are cast to that type too.
    """

    architecture: Architecture
    lora: Lora | None
    batch_size: int
    seq_len_tokens: int
    stack: str
    quantization: Quantization = Quantization.NONE
    double_quant: bool = False
    group_size: int = 0
    kbit_prep: bool = False
    dtype: Dtype = Dtype.BFLOAT16
    autocast: Dtype | None = None
    gradient_checkpointing: bool = False
    attention: Attention = Attention.SDPA
    loss: Loss = Loss.FULL
    optimizer: Optimizer = Optimizer.ADAMW_FUSED
    allocator: Allocator = Allocator.DEFAULT
    num_gpus: int = 1
    empty_cache_each_step: bool = False
    is_padded: bool = False
    accumulates: bool = False
    kernels: Kernels = Kernels.AMPERE
    holds_outputs: bool = False
    sharding: Sharding = WHOLE_COPIES
    reference: Reference = Reference.NONE
    liger_version: str = NEWEST_LIGER
    steps_in_backward: bool = False
    offloads_activations: bool = False
    loaded_dtype: Dtype | None = None
    cast_units: Wrap | None = None

    @property
    def rows_per_example(self) -> int:
        """Count the batch rows of one example: two (chosen and rejected) with a reference model, else one."""
        return 1 if self.reference is Reference.NONE else 2
