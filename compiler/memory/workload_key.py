"""Workloads as cache keys: equal where what is derived from them is equal.

What a derivation does not depend on is set to one value, so that for example two optimizers share the derivation of a
step.
"""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.families import masked_window
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.sharding.model import WHOLE_COPIES
from kaitoc.compiler.memory.workload import (
    NEWEST_LIGER,
    Allocator,
    Attention,
    Lora,
    Loss,
    Optimizer,
    Quantization,
    Reference,
    Workload,
)

TILE_TOKENS = 4096
"""Tokens that the fused loss scores at a time (`TOKEN_CHUNK_SIZE` of TRL's `kernels/chunked_logprob.py`, 1.15)."""

AWQ_PRODUCT_TOKENS = 1024
"""From here on AutoAWQ dequantises the weight (`FP16_MATMUL_HEURISTIC_CONDITION` of `awq/modules/linear/gemm.py`)."""

SORTED_EMBEDDING_TOKENS = 3073
"""From here on an embedding's gradient is summed up by sorted words (`embedding_dense_backward_cuda` of `Embedding.cu`:
another kernel takes up to 3,072 tokens)."""


def liger_chunk_tokens(architecture: Architecture, num_tokens: int) -> int:
    """Compute how many tokens Liger's loss scores at a time, a power of two.

    Their logits then take about as much as all hidden states (`fused_linear_cross_entropy_forward` of
    `liger_kernel/ops/fused_linear_cross_entropy.py`).
    """
    return 1 << (-(-num_tokens // _liger_parts(architecture)) - 1).bit_length()


def _liger_parts(architecture: Architecture) -> int:
    return -(-architecture.vocab_size // architecture.hidden_size)


def of_any_size(workload: Workload) -> Workload:
    """Return a workload with batch and sequence length set to one value: derivations leave them open."""
    batch_size, length = _representative(workload)
    return replace(
        workload, lora=adapter_shape(workload.lora), batch_size=batch_size, seq_len_tokens=length, accumulates=False
    )


def key_of_step(workload: Workload) -> Workload:
    """Return the key of what the kernels of a step depend on: not the optimizer, nor how weights are stored."""
    return _without_surroundings(workload)


def key_of_stream(workload: Workload) -> Workload:
    """Return the key of a step's operations, which the optimizer has no part in."""
    return replace(
        key_of_work(workload),
        reference=Reference.NONE,
        optimizer=Optimizer.ADAMW_FUSED,
        steps_in_backward=False,
        offloads_activations=False,
    )


def key_of_work(workload: Workload) -> Workload:
    """Return the key of what the kernels of a step read and compute, the constants of quantised weights included."""
    is_4bit = workload.quantization in (Quantization.NF4, Quantization.FP4)
    return replace(_without_surroundings(workload), double_quant=is_4bit and workload.double_quant)


def key_of_plan(workload: Workload) -> Workload:
    """Return the key of what the layers depend on: how they are loaded, quantised and adapted."""
    return replace(
        _without_surroundings(workload),
        double_quant=workload.double_quant,
        gradient_checkpointing=False,
        attention=Attention.SDPA,
        loss=Loss.FULL,
        liger_version=NEWEST_LIGER,
        optimizer=Optimizer.ADAMW_FUSED,
        steps_in_backward=False,
        offloads_activations=False,
        reference=Reference.NONE,
    )


def _without_surroundings(workload: Workload) -> Workload:
    batch_size, length = _representative(workload)
    return replace(
        workload,
        lora=adapter_shape(workload.lora),
        batch_size=batch_size,
        seq_len_tokens=length,
        num_gpus=1,
        sharding=WHOLE_COPIES,
        double_quant=False,
        optimizer=workload.optimizer if workload.steps_in_backward else Optimizer.ADAMW_FUSED,
        allocator=Allocator.DEFAULT,
        empty_cache_each_step=False,
        accumulates=False,
    )


def key_of_need(workload: Workload) -> Workload:
    """Return the key of all that a workload needs: what scales the adapters' output has no part in it."""
    return replace(workload, lora=_unscaled(workload.lora))


@lru_cache(maxsize=256)
def adapter_shape(lora: Lora | None) -> Lora | None:
    """Return adapters without what scales their output, and with one probability for any dropout."""
    unscaled = _unscaled(lora)
    return replace(unscaled, dropout=0.5) if unscaled is not None and unscaled.dropout else unscaled


def _unscaled(lora: Lora | None) -> Lora | None:
    return replace(lora, alpha=1.0, alpha_pattern=(), rslora=False) if lora is not None else None


def _representative(workload: Workload) -> tuple[int, int]:
    """Return one batch size and length for all that are derived alike.

    Lengths differ where a sliding window needs a mask; batches where one sequence is told from several, and where the
    number of tokens passes what decides on a kernel. Sizes that stand for no others are returned as they are.
    """
    if workload.quantization is Quantization.AWQ:
        return workload.batch_size, workload.seq_len_tokens
    length = masked_window(workload.architecture, workload.seq_len_tokens) or 1
    batch = min(workload.batch_size, 2) if tells_single(workload) else 1
    num_tokens = workload.batch_size * workload.seq_len_tokens
    thresholds = _thresholds(workload)
    passed = [threshold for threshold in thresholds if num_tokens >= threshold]
    if passed:
        batch = max(batch, -(-max(passed) // length))
    if passed != [threshold for threshold in thresholds if batch * length >= threshold]:
        return workload.batch_size, workload.seq_len_tokens
    return batch, length


def tells_single(workload: Workload) -> bool:
    """Whether one sequence is computed in another way than several are."""
    return workload.architecture.num_kv_heads == 1 or workload.loss in (Loss.FUSED, Loss.CHUNKED, Loss.LIGER)


def _thresholds(workload: Workload) -> list[int]:
    """Return the numbers of tokens from which on a kernel of the loss or of the embedding works in another way."""
    thresholds = [TILE_TOKENS] if workload.loss is Loss.FUSED else []
    if workload.loss is Loss.LIGER:
        parts, num_tokens = _liger_parts(workload.architecture), workload.batch_size * workload.seq_len_tokens
        thresholds = [parts * (1 << power) + 1 for power in range(num_tokens.bit_length())]
    if workload.lora is None or workload.lora.modules_to_save:
        thresholds += [SORTED_EMBEDDING_TOKENS, workload.architecture.vocab_size + 1]
    return thresholds
