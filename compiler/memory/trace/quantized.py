"""bitsandbytes' quantised layers on meta tensors: the real modules around weights and constants of the right shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from bitsandbytes.functional import QuantState
from bitsandbytes.nn.modules import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from transformers.pytorch_utils import Conv1D

from kaitoc.compiler.memory.workload import Quantization

BLOCK = 64
NESTED_BLOCK = 256
_META = torch.device("meta")


def quantize_linears(
    model: torch.nn.Module, quantization: Quantization, *, double_quant: bool, unquantized: frozenset[str]
) -> None:
    """Replace every linear layer but those whose path is in `kept`, as transformers does on loading.

    `replace_with_bnb_linear` (transformers 5.23, `integrations/bitsandbytes.py`) takes `Conv1D` and plain `nn.Linear`,
    but no subclasses such as Falcon's.
    """
    for path, module in list(model.named_modules()):
        if (isinstance(module, Conv1D) or type(module) is torch.nn.Linear) and path not in unquantized:
            parent, _, name = path.rpartition(".")
            linear = _as_linear(module)
            is_8bit = quantization is Quantization.INT8
            new = _linear_8bit(linear) if is_8bit else _linear_4bit(linear, quantization, double_quant)
            setattr(model.get_submodule(parent), name, new)
    is_8bit = quantization is Quantization.INT8
    model.is_loaded_in_8bit = is_8bit  # type: ignore[assignment]  # transformers' own marks, read by PEFT
    model.is_loaded_in_4bit = not is_8bit  # type: ignore[assignment]  # as above
    model.is_quantized = True  # type: ignore[assignment]  # as above


def constants(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Yield the tensors that quantised layers hold besides their parameters."""
    for module in model.modules():
        if isinstance(module, Linear4bit) and module.quant_state is not None:
            yield from _state_tensors(module.quant_state)
        elif isinstance(module, Linear8bitLt):
            yield vars(module.weight)["SCB"] if module.state.SCB is None else module.state.SCB


def quantized_scratch_bytes(operator: Any, args: tuple[Any, ...], result: Any) -> int:
    """Return the bytes that bitsandbytes' CUDA kernels take besides their results (`backends/cuda/ops.py`, 0.50).

    `gemm_4bit` on more than a few rows widens the whole weight to the input's type; the 8-bit product is int32
    before it is scaled.
    """
    if operator is torch.ops.bitsandbytes.gemm_4bit.default:
        return int(math.prod(args[2]) * args[0].element_size())
    if operator is torch.ops.bitsandbytes.int8_scaled_mm.default:
        return int(result.numel()) * torch.int32.itemsize
    return 0


def _as_linear(module: Any) -> torch.nn.Linear:
    """Return a linear layer of the shape of a `Conv1D`, which stores its weight transposed."""
    if type(module) is torch.nn.Linear:
        return module
    in_features, out_features = module.weight.shape
    new = torch.nn.Linear(in_features, out_features, dtype=module.weight.dtype, device=_META)
    new.bias = module.bias
    return new


def _linear_4bit(module: torch.nn.Linear, quantization: Quantization, double_quant: bool) -> torch.nn.Module:
    dtype, shape = module.weight.dtype, module.weight.shape
    new = Linear4bit(
        module.in_features,
        module.out_features,
        bias=False,
        compute_dtype=dtype,
        compress_statistics=double_quant,
        quant_type=quantization.value,
        device=_META,
    )
    num_weights = shape.numel()
    state = _quant_state(math.ceil(num_weights / BLOCK), shape, quantization, dtype, double_quant)
    packed = torch.empty((num_weights + 1) // 2, 1, dtype=torch.uint8, device=_META)
    new.weight = Params4bit(
        packed,
        quant_state=state,
        blocksize=BLOCK,
        compress_statistics=double_quant,
        quant_type=quantization.value,
        module=new,
        bnb_quantized=True,
    )
    new.quant_state = state
    new.bias = module.bias
    return new


def _quant_state(
    num_blocks: int, shape: torch.Size, quantization: Quantization, dtype: torch.dtype, double_quant: bool
) -> QuantState:
    code = torch.empty(16, device=_META)
    if not double_quant:
        absmax = torch.empty(num_blocks, device=_META)
        return QuantState(absmax, shape=shape, code=code, blocksize=BLOCK, quant_type=quantization.value, dtype=dtype)
    nested = QuantState(
        torch.empty(math.ceil(num_blocks / NESTED_BLOCK), device=_META),
        code=torch.empty(256, device=_META),
        blocksize=NESTED_BLOCK,
        dtype=torch.float32,
    )
    return QuantState(
        torch.empty(num_blocks, dtype=torch.uint8, device=_META),
        shape=shape,
        code=code,
        blocksize=BLOCK,
        quant_type=quantization.value,
        dtype=dtype,
        offset=torch.empty((), device=_META),
        state2=nested,
    )


def _state_tensors(state: QuantState) -> Iterator[torch.Tensor]:
    yield state.absmax
    yield state.code
    if state.nested:
        yield state.offset
        yield state.state2.absmax
        yield state.state2.code


def _linear_8bit(module: torch.nn.Linear) -> torch.nn.Module:
    new = Linear8bitLt(module.in_features, module.out_features, bias=False, has_fp16_weights=False, device=_META)
    packed = torch.empty(module.weight.shape, dtype=torch.int8, device=_META)
    scales = torch.empty(module.out_features, device=_META)
    new.weight = Int8Params(packed, requires_grad=False, has_fp16_weights=False, CB=packed, SCB=scales)
    new.bias = module.bias
    return new
