"""The bytes of elements, weights and tables that a workload and its stack decide."""

from __future__ import annotations

import math

from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, HALF_BYTES
from kaitoc.compiler.memory.stacks import Stack
from kaitoc.compiler.memory.workload import Dtype, Quantization, Workload

QUANTIZATION_BLOCK = 64
NESTED_BLOCK = 256
INT32_BYTES = 4


def adapter_bytes(workload: Workload, stack: Stack) -> int:
    """Return the bytes of one adapter element: as asked, else what PEFT and TRL make of it.

    PEFT keeps adapters in float32 over half-precision weights (`autocast_adapter_dtype`, 0.12 and later) and gave
    them the weights' type before; TRL casts those of models that bitsandbytes quantized to bfloat16.
    Packed weights are no floating-point ones, so that their adapters are float32 in any version.
    """
    lora = workload.lora
    if lora is not None and lora.dtype is not None:
        return lora.dtype.num_bytes
    if workload.quantization.is_packed:
        return FLOAT32_BYTES
    if workload.quantization is not Quantization.NONE:
        return stack.quantized_adapter_dtype.num_bytes
    return workload.dtype.num_bytes if stack.adapters_follow_weights else FLOAT32_BYTES


def norm_bytes(workload: Workload) -> int:
    """Return the size of norms and biases: as loaded, or float32 after `prepare_model_for_kbit_training`.

    PEFT leaves those of GPTQ models alone.
    """
    is_widened = workload.kbit_prep and workload.loaded_dtype is None
    if is_widened and workload.quantization not in (Quantization.NONE, Quantization.GPTQ):
        return FLOAT32_BYTES
    return workload.dtype.num_bytes


def vocabulary_bytes(workload: Workload, stack: Stack) -> int:
    """Return the size of embedding and head: like norms, unless TRL casts them back (`peft_module_casting_to_bf16`)."""
    if stack.casts_vocabulary_back and workload.autocast is Dtype.BFLOAT16:
        return workload.dtype.num_bytes
    return norm_bytes(workload)


def table_bytes(workload: Workload, stack: Stack) -> int:
    """Compute the rotary tables and causal masks that older code keeps in every layer for the longest sequence.

    GPT-BigCode has one mask for all layers, in any version (`GPTBigCodeModel.__init__`).
    """
    architecture = workload.architecture
    num_bytes, length = 0, architecture.max_position_embeddings
    if architecture.model_type in stack.rotary_caches:
        num_bytes += 2 * length * architecture.head_dim * workload.dtype.num_bytes
    if architecture.model_type in stack.mask_buffers:
        num_bytes += length**2
    is_shared = architecture.model_type == "gpt_bigcode"
    return architecture.num_layers * num_bytes + (length**2 if is_shared else 0)


def quantized_bytes(
    in_features: int, out_features: int, quantization: Quantization, double_quant: bool, group_size: int = 0
) -> int:
    """Return the bytes of a quantized weight with its constants; `group_size` 0 takes all rows for one group.

    GPTQ and AWQ have a half scale and a 4-bit zero point per group of rows and column, GPTQ an int32 per row that names
    its group (`nn_modules/qlinear/qlinear_tritonv2.py` of AutoGPTQ, `awq/modules/linear/gemm.py` of AutoAWQ 0.2.7).

    bitsandbytes 0.43 to 0.50 `functional.py`: 4-bit blocks of 64 with a float32 maximum each, or with double
    quantization an 8-bit maximum, a float32 per 256 of those, a 256-entry code and an offset; 8-bit has one float32
    per output row.
    """
    num_weights = in_features * out_features
    if quantization is Quantization.INT8:
        return num_weights + FLOAT32_BYTES * out_features
    if quantization.is_packed:
        constants = math.ceil(in_features / (group_size or in_features)) * (
            HALF_BYTES * out_features + out_features // 2
        )
        rows = INT32_BYTES * in_features if quantization is Quantization.GPTQ else 0
        return num_weights // 2 + constants + rows
    blocks = math.ceil(num_weights / QUANTIZATION_BLOCK)
    code = 16 * FLOAT32_BYTES
    if not double_quant:
        return num_weights // 2 + blocks * FLOAT32_BYTES + code
    nested = math.ceil(blocks / NESTED_BLOCK)
    return num_weights // 2 + blocks + nested * FLOAT32_BYTES + code + 256 * FLOAT32_BYTES + FLOAT32_BYTES


def autocast_bytes(dtype: Dtype | None) -> int | None:
    """Return the size of the autocast type, None when autocast is off."""
    return None if dtype is None else dtype.num_bytes


def compute_bytes(workload: Workload) -> int:
    """Return the size of bitsandbytes' compute type, taken to be the type the model was loaded in."""
    loaded = workload.loaded_dtype or workload.dtype
    return HALF_BYTES if loaded is not Dtype.FLOAT32 else FLOAT32_BYTES
