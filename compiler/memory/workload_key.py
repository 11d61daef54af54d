"""Workloads as cache keys: equal where what is derived from them is equal.

What a derivation does not depend on is set to one value, so that for example two optimizers share the derivation of a
step.
"""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.families import masked_window
from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
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

CHUNK_TOKENS = 256
"""Tokens that the chunked loss scores at a time (`_CHUNKED_LM_HEAD_CHUNK_SIZE` of TRL's `sft_trainer.py`, 1.7)."""

TILE_TOKENS = 4096
"""Tokens that the fused loss scores at a time (`TOKEN_CHUNK_SIZE` of TRL's `kernels/chunked_logprob.py`, 1.15)."""

AWQ_PRODUCT_TOKENS = 1024
"""From here on AutoAWQ dequantises the weight (`FP16_MATMUL_HEURISTIC_CONDITION` of `awq/modules/linear/gemm.py`)."""

SORTED_EMBEDDING_TOKENS = 3073
"""From here on an embedding's gradient is summed up by sorted words (`embedding_dense_backward_cuda` of `Embedding.cu`:
another kernel takes up to 3,072 tokens)."""


def liger_chunk_tokens(architecture: Architecture, num_tokens: int) -> int:
    """Compute how many tokens Liger's loss scores at a time, a power of two or all of them.

    Their logits then take about as much as all hidden states (`fused_linear_cross_entropy_forward` of
    `liger_kernel/ops/fused_linear_cross_entropy.py`).
    """
    return min(num_tokens, 1 << (-(-num_tokens // liger_parts(architecture)) - 1).bit_length())


def liger_parts(architecture: Architecture) -> int:
    """Compute into how many parts Liger's loss divides the tokens at most; one is all of them at once."""
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
    sizes = workload.batch_size, workload.seq_len_tokens
    if workload.quantization is Quantization.AWQ:
        return sizes
    batch, length = _least_sizes(workload)
    return (batch, length) if _decided_by(workload, batch, length) == _decided_by(workload, *sizes) else sizes


def _least_sizes(workload: Workload) -> tuple[int, int]:
    """Return small sizes that decide as the workload's do where they can: one row grows by its length, several by rows.

    Chunks of a loss that has no more than one chunk grow with the tokens but for one of each row, whose number is kept.
    """
    length = masked_window(workload.architecture, workload.seq_len_tokens) or 1
    least = max(_passed(workload, workload.batch_size * workload.seq_len_tokens), default=1)
    if not tells_single(workload):
        return -(-least // length), length
    num_unscored = int(not scores_last(workload))
    least_scored = _least_scored(workload, num_scored_tokens(workload))
    if workload.batch_size == 1:
        return 1, max(length, least, least_scored + num_unscored)
    if workload.loss is Loss.CHUNKED and not has_chunks(workload):
        return workload.batch_size, length
    length = max(length, 1 + num_unscored)
    return max(2, -(-least // length), -(-least_scored // (length - num_unscored))), length


def _decided_by(workload: Workload, batch_size: int, length: int) -> tuple[object, ...]:
    """Return all that a batch size and length decide in a derivation."""
    num_scored = _num_scored(workload, batch_size, length)
    return (
        masked_window(workload.architecture, length),
        tells_single(workload) and batch_size == 1,
        _passed(workload, batch_size * length),
        _least_scored(workload, num_scored),
        batch_size if workload.loss is Loss.CHUNKED and num_scored <= CHUNK_TOKENS else None,
    )


def num_scored_tokens(workload: Workload) -> int:
    """Count the tokens that the loss scores: all, or all but the last of each row."""
    return _num_scored(workload, workload.batch_size, workload.seq_len_tokens)


def _num_scored(workload: Workload, batch_size: int, length: int) -> int:
    return batch_size * (length - int(not scores_last(workload)))


def scores_last(workload: Workload) -> bool:
    """Whether the loss gets the last position of each row too, with a label that it ignores.

    Liger's gets it from 0.5.6 on; TRL's losses cut it off (`hidden_states[..., :-1, :]`).
    """
    if workload.loss is Loss.LIGER:
        return changes()[LibraryChange.LIGER_WHOLE_HIDDEN].includes(workload.liger_version)
    return workload.loss not in (Loss.CHUNKED, Loss.FUSED)


def has_chunks(workload: Workload) -> bool:
    """Whether the tokens that TRL's chunked loss scores are more than one chunk."""
    return num_scored_tokens(workload) > CHUNK_TOKENS


def _least_scored(workload: Workload, num_tokens: int) -> int:
    """Return from how many scored tokens on chunks are as large as those of `num_tokens`, and more than two if there
    are.
    """
    if workload.loss is Loss.CHUNKED:
        return CHUNK_TOKENS + 1 if num_tokens > CHUNK_TOKENS else 0
    if workload.loss is not Loss.LIGER or (parts := liger_parts(workload.architecture)) == 1:
        return 0
    chunk_tokens = liger_chunk_tokens(workload.architecture, num_tokens)
    least = parts * (chunk_tokens // 2) + 1
    return max(least, 2 * chunk_tokens + 1) if num_tokens > 2 * chunk_tokens else least


def tells_single(workload: Workload) -> bool:
    """Whether one sequence is computed in another way than several are."""
    return workload.architecture.num_kv_heads == 1 or workload.loss in (Loss.FUSED, Loss.CHUNKED, Loss.LIGER)


def _passed(workload: Workload, num_tokens: int) -> list[int]:
    """Return the numbers of tokens from which on a kernel of the loss or of the embedding works in another way."""
    thresholds = [TILE_TOKENS] if workload.loss is Loss.FUSED else []
    if workload.lora is None or workload.lora.modules_to_save:
        thresholds += [SORTED_EMBEDDING_TOKENS, workload.architecture.vocab_size + 1]
    return [threshold for threshold in thresholds if num_tokens >= threshold]
