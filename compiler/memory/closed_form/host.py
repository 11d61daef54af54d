"""The host's memory on one node whose processes hold whole copies of a model."""

from __future__ import annotations

from kaitoc.compiler.memory.workload import Quantization, Workload

MAX_CHECKPOINT_FILE_BYTES = 5 * 10**9
"""How large a file of weights is at most (`max_shard_size` of `save_pretrained`, transformers until 4); a process that
puts weights where they belong as it reads them holds one at a time."""


def copies_host_bytes(workload: Workload) -> int:
    """Return the most that the processes of one node hold together: the model of each while it is loaded.

    Weights that are quantized go to the GPU file by file; trained tensors are saved from there one by one.
    """
    num_processes = workload.num_gpus // workload.sharding.num_nodes
    model_bytes = workload.dtype.num_bytes * workload.architecture.num_parameters
    is_quantized = workload.quantization is not Quantization.NONE
    return num_processes * (min(model_bytes, MAX_CHECKPOINT_FILE_BYTES) if is_quantized else model_bytes)
