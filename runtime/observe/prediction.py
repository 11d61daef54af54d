"""What the memory engine predicts for a plan on the model that is really there, for a batch that was really seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from kaitoc.compiler.catalog.architecture import Architecture, ArchitectureError
from kaitoc.compiler.catalog.gpus import AMPERE
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory import device
from kaitoc.compiler.memory.batches import measured_lengths
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.closed_form.replay import Replayed
from kaitoc.compiler.memory.notes import notes_on_lengths
from kaitoc.compiler.memory.result import Footprint, Phase
from kaitoc.compiler.memory.variation import Drawing, can_vary, replay_order
from kaitoc.compiler.memory.workload import Attention, Dtype, Kernels, Workload, WorkloadError
from kaitoc.compiler.plan.memory import footprint_plan, loading_of_plan, workload_of_plan
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.model.loss_tiles import CPU_TILE_TOKENS
from kaitoc.runtime.observe.device import asked

TILE_WORDS = 32768
LIVE_TILES = 7.25
"""The loss of TRL 1.15 and later where there is no Triton (trl/kernels/chunked_logprob.py, `_backward_tile`): a buffer
of at most `CPU_TILE_TOKENS` tokens by always 32,768 words, and at the highest moment of a tile's backward pass seven
float32 tensors of its logits and one boolean."""


def predicted_footprint(plan: Plan, config: Any, batch_shape: tuple[int, int] | None = None) -> Footprint | None:
    """Return the footprint of a plan for a loaded model's config, None for a model that the engine does not know.

    `batch_shape` is (sequences, padded length in tokens); None takes the plan's.
    """
    workload = _workload(plan, config, batch_shape)
    return footprint(workload) if workload is not None else None


def with_lengths(plan: Plan, config: Any, longest_tokens: int) -> Plan:
    """Return a plan whose prediction is for the longest sequence that the data has, where it has one."""
    if plan.predicted is None:
        return plan
    predicted = predicted_footprint(plan, config, (plan.sequences_per_batch, longest_tokens))
    return plan if predicted is None else plan.model_copy(update={"predicted": footprint_plan(predicted)})


def replayed_batches(plan: Plan, config: Any, rows: Sequence[int], free_bytes: int) -> Replayed | None:
    """Replay batches drawn from rows of these lengths on a GPU with this much free memory.

    None where they are not replayed: for a model that is not known, shards, and pairs.
    """
    workload = _longest_batch(plan, config, rows)
    if workload is None or not can_vary(workload, workload.sharding):
        return None
    drawing = Drawing(measured_lengths(rows, plan.data.max_length or max(rows)), loading_of_plan(plan))
    seed = plan.training.seed if plan.training.data_seed is None else plan.training.data_seed
    return replay_order(workload, None, drawing, seed, free_bytes - device.nccl_bytes(workload, None))


def notes_on_batches(plan: Plan, config: Any, rows: Sequence[int]) -> Iterator[str]:
    """Yield what `kaitoc estimate` notes on batches drawn from rows of these lengths."""
    workload = _longest_batch(plan, config, rows)
    if workload is not None:
        yield from notes_on_lengths(workload, workload.sharding)


def _longest_batch(plan: Plan, config: Any, rows: Sequence[int]) -> Workload | None:
    cap = plan.data.max_length or max(rows)
    return _workload(plan, config, (plan.sequences_per_batch, cap if plan.data.packing else min(cap, max(rows))))


def predicted_live_bytes(plan: Plan, config: Any, batch_shape: tuple[int, int]) -> int | None:
    """Return the peak of live tensors on a CPU, None for a model that the engine does not know.

    It differs from a GPU's by the scratch memory of CUDA's libraries, which is not there, by attention, and by the
    loss, whose tiles PyTorch's own operators work on.
    """
    workload = _workload(plan, config, batch_shape)
    if workload is None:
        return None
    predicted = footprint(replace(workload, kernels=Kernels.CPU))
    peaks = {peak.phase: peak.categories for peak in predicted.phases}
    loss, optimizer = peaks[Phase.LOSS], peaks[Phase.OPTIMIZER]
    in_loss = loss.total - loss.workspace - loss.logits + _loss_bytes(workload)
    return max(in_loss, optimizer.total - device.cublas_workspace_bytes(None))


def _loss_bytes(workload: Workload) -> int:
    """Return the bytes that the loss needs in addition to its input while its gradient is computed."""
    architecture = workload.architecture
    num_tokens = workload.batch_size * (workload.seq_len_tokens - 1)
    rows = min(num_tokens, CPU_TILE_TOKENS)
    compute_bytes = (workload.autocast or workload.dtype).num_bytes
    tile = rows * TILE_WORDS * compute_bytes
    logits = int(LIVE_TILES * rows * min(architecture.vocab_size, TILE_WORDS) * 4)
    gradient = num_tokens * architecture.hidden_size * 4
    return tile + logits + gradient + _head_bytes(workload, architecture, compute_bytes)


def _head_bytes(workload: Workload, architecture: Architecture, compute_bytes: int) -> int:
    """Return the float32 gradient of a head that is trained, and the narrowed copy of one that autocast casts."""
    words = min(architecture.vocab_size, TILE_WORDS) * architecture.hidden_size
    trained = architecture.vocab_size * architecture.hidden_size * 4 if workload.lora is None else 0
    stored_bytes = 4 if workload.kbit_prep else workload.dtype.num_bytes
    return trained + (words * compute_bytes if stored_bytes != compute_bytes else 0)


def _workload(plan: Plan, config: Any, batch_shape: tuple[int, int] | None) -> Workload | None:
    batch_size, seq_len_tokens = batch_shape or (None, None)
    try:
        architecture = from_config(plan.model.path, config.to_dict())
        dtype = Dtype(str(config.dtype).removeprefix("torch.")) if config.dtype is not None else None
        workload = workload_of_plan(
            plan, architecture, batch_size=batch_size, seq_len_tokens=seq_len_tokens, dtype=dtype
        )
        return _as_run_here(workload)
    except (ArchitectureError, WorkloadError, ValueError):
        return None


def _as_run_here(workload: Workload) -> Workload:
    """Return a workload with the attention kernels that PyTorch has for the GPU of this process."""
    capability = asked(torch.cuda.get_device_capability) if torch.cuda.is_available() else None
    if capability is None or capability >= AMPERE:
        return workload
    attention = Attention.SDPA if workload.attention is Attention.FLASH else workload.attention
    return replace(workload, kernels=Kernels.BEFORE_AMPERE, attention=attention)
