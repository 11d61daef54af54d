"""Build the model of a workload on meta tensors with transformers and PEFT, as a training script would."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM
from transformers.initialization import no_init_weights

from kaitoc.compiler.memory.closed_form.dtypes import adapter_bytes
from kaitoc.compiler.memory.stacks import Stack
from kaitoc.compiler.memory.trace.autocast import Autocast
from kaitoc.compiler.memory.trace.kernels import CudaFunctions, flash_attention
from kaitoc.compiler.memory.trace.quantized import quantize_linears
from kaitoc.compiler.memory.workload import Attention, Dtype, Lora, Quantization, Workload, WorkloadError

FLASH_NAME = "kaitoc_fused"
_DTYPES = {
    Dtype.FLOAT64: torch.float64,
    Dtype.FLOAT32: torch.float32,
    Dtype.FLOAT16: torch.float16,
    Dtype.BFLOAT16: torch.bfloat16,
}


def torch_dtype(dtype: Dtype) -> torch.dtype:
    """Return PyTorch's type of that name."""
    return _DTYPES[dtype]


def build_model(workload: Workload, stack: Stack) -> Any:
    """Return the model in training mode, quantised and with adapters as the workload has them, without memory.

    Raises `WorkloadError` where transformers or PEFT refuse it, or where the stack is not the installed one.
    """
    _require_installed(stack)
    if workload.quantization.is_packed:
        raise WorkloadError(
            f"the trace has no {workload.quantization.value} layers, whose library needs a GPU; leave --trace out"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _built(workload, stack)
        except (ValueError, TypeError, KeyError, NotImplementedError) as error:
            raise WorkloadError(f"{workload.architecture.name} cannot be traced: {error}") from error


def _built(workload: Workload, stack: Stack) -> Any:
    AttentionInterface.register(FLASH_NAME, flash_attention)
    config = AutoConfig.for_model(**_config_of(workload))
    with torch.device("meta"), no_init_weights():
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch_dtype(workload.dtype), attn_implementation=_attention_name(workload.attention)
        )
        model.tie_weights()
    model.config.use_cache = False
    if workload.quantization is not Quantization.NONE:
        head = model.get_output_embeddings()
        unquantized = frozenset(path for path, module in model.named_modules() if module is head)
        quantize_linears(model, workload.quantization, double_quant=workload.double_quant, unquantized=unquantized)
    if workload.kbit_prep:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        model.enable_input_require_grads()
    if workload.gradient_checkpointing:
        model.gradient_checkpointing_enable(
            {"use_reentrant": False, "context_fn": lambda: checkpoint_contexts(workload)}
        )
        if workload.lora is not None and not workload.kbit_prep:
            model.enable_input_require_grads()
    if workload.lora is not None:
        model = _adapted(model, workload, workload.lora, stack)
    return model.train()


def _attention_name(attention: Attention) -> str | None:
    """Return transformers' name; without one it takes scaled dot product attention where a model has it, else eager."""
    if attention is Attention.FLASH:
        return FLASH_NAME
    return "eager" if attention is Attention.EAGER else None


def checkpoint_contexts(workload: Workload) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Build the contexts of a checkpoint's forward and of its recomputation, which runs outside the step's modes."""
    return nullcontext(), cuda_functions(workload, autocast_of(workload))


def cuda_functions(workload: Workload, autocast: Autocast | None) -> CudaFunctions:
    """Build the function mode that gives meta tensors CUDA's kernels while a workload's step runs."""
    return CudaFunctions(autocast, is_padded=workload.is_padded, kernels=workload.kernels)


def autocast_of(workload: Workload) -> Autocast | None:
    """Return a fresh autocast region of the workload's type, None when it has none."""
    return Autocast(torch_dtype(workload.autocast)) if workload.autocast is not None else None


def _require_installed(stack: Stack) -> None:
    installed = version("transformers")
    if stack.transformers.split(".")[0] != installed.split(".")[0]:
        raise WorkloadError(
            f"--trace runs the installed transformers {installed}, but {stack.name} has transformers "
            f"{stack.transformers}; remove --trace for that stack"
        )


def _config_of(workload: Workload) -> dict[str, Any]:
    architecture = workload.architecture
    return {**architecture.config, "model_type": architecture.model_type}


def _adapted(model: Any, workload: Workload, lora: Lora, stack: Stack) -> Any:
    names: Any = "all-linear" if lora.targets == ("all-linear",) else list(lora.targets)
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # PEFT declares int and divides
        lora_dropout=lora.dropout,
        target_modules=names,
        use_dora=lora.dora,
        use_rslora=lora.rslora,
        modules_to_save=list(lora.modules_to_save) or None,
        rank_pattern=dict(lora.rank_pattern),
        alpha_pattern=dict(lora.alpha_pattern),
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, settings, autocast_adapter_dtype=False)
    dtype = _adapter_dtype(workload, stack)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(dtype)
    return adapted


def _adapter_dtype(workload: Workload, stack: Stack) -> torch.dtype:
    if adapter_bytes(workload, stack) == Dtype.FLOAT32.num_bytes:
        return torch.float32
    chosen = workload.lora.dtype if workload.lora is not None else None
    if chosen is not None:
        return torch_dtype(chosen)
    return torch_dtype(workload.dtype) if workload.dtype is not Dtype.FLOAT32 else torch.bfloat16
