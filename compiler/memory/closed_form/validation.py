"""Refuses workloads that no run can have."""

from __future__ import annotations

from kaitoc.compiler.memory.workload import Workload, WorkloadError


def validate(workload: Workload) -> None:
    """Raise `WorkloadError` for a workload that no run can have."""
    architecture, lora = workload.architecture, workload.lora
    _require(workload.batch_size >= 1, f"the batch size must be at least 1, not {workload.batch_size}")
    _require(workload.seq_len_tokens >= 1, f"the sequence length must be at least 1, not {workload.seq_len_tokens}")
    _require(workload.num_gpus >= 1, f"the number of GPUs must be at least 1, not {workload.num_gpus}")
    limit = architecture.max_position_embeddings
    _require(
        limit <= 0 or workload.seq_len_tokens <= limit,
        f"a sequence of {workload.seq_len_tokens} tokens is longer than {architecture.name} takes ({limit})",
    )
    _require(
        architecture.num_heads >= 1 and architecture.num_kv_heads >= 1,
        f"{architecture.name} needs at least one attention head",
    )
    _require(
        architecture.num_heads % architecture.num_kv_heads == 0,
        f"{architecture.num_heads} attention heads cannot share {architecture.num_kv_heads} key heads evenly",
    )
    _require(
        "head_dim" in architecture.config or architecture.hidden_size % architecture.num_heads == 0,
        f"a hidden size of {architecture.hidden_size} cannot be split into {architecture.num_heads} heads",
    )
    if lora is not None:
        ranks = (lora.rank, *(rank for _, rank in lora.rank_pattern))
        _require(min(ranks) >= 1, f"the LoRA rank must be at least 1, not {min(ranks)}")
        _require(0.0 <= lora.dropout < 1.0, f"the LoRA dropout must be at least 0 and below 1, not {lora.dropout}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise WorkloadError(message)
