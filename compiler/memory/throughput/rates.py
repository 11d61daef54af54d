"""What a GPU reaches of its peaks (`schemas/catalog/throughput.json`, where each share has its source)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.kernel import Direction, Unit
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.workload import Dtype, Optimizer
from kaitoc.schemas import read_json

DEFAULT = "default"
TILE = 128


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of one GPU: operations per second by unit, bytes per second, seconds per launched kernel.

    `bandwidth` is what unfused kernels of mixed types reach of the memory's, `stream_bandwidth` what long passes over
    tensors of one type do. What the kernel before left in the cache of `cache_bytes` is read at `cache_bandwidth`.
    """

    flops: Mapping[Unit, float]
    bandwidth: float
    stream_bandwidth: float
    cache_bandwidth: float
    cache_bytes: int
    num_multiprocessors: int
    dequantization: float
    host_lists: float
    launch_seconds: Mapping[Direction, float]

    def move_seconds(self, num_bytes: int) -> float:
        """Return the time of a kernel that moves so many bytes, less what it finds in the cache."""
        cached = max(0.0, 1.0 - num_bytes / self.cache_bytes)
        return num_bytes * (cached / self.cache_bandwidth + (1.0 - cached) / self.bandwidth)

    def wave_share(self, rows: int, columns: int) -> float:
        """Return the share of multiprocessors that a matrix product keeps busy.

        Its result is cut into tiles, one per multiprocessor at a time; the last wave of tiles leaves some idle
        (NVIDIA, Matrix Multiplication Background User's Guide, wave quantization).
        """
        tiles = -(-rows // TILE) * -(-columns // TILE)
        waves = -(-tiles // self.num_multiprocessors)
        return tiles / (waves * self.num_multiprocessors)


@lru_cache(maxsize=256)
def rates_of(gpu: Gpu, half_dtype: Dtype, stack_name: str) -> Rates:
    """Return the rates that a GPU reaches in one half-precision type: as measured, else a share of its peak.

    Without such units it computes in float32.
    """
    data = _data()
    shares = {**data["generations"][DEFAULT], **data["generations"].get(gpu.generation, {})}
    peak = gpu.bf16_flops if half_dtype is Dtype.BFLOAT16 else gpu.fp16_flops
    peak = peak or gpu.fp32_flops
    measured = dict(gpu.matmul_flops)
    product = measured.get(half_dtype.value, peak * shares["half_product"])
    attention = product * data["attention_to_product"] if measured else peak * shares["fused_attention"]
    half = product * data["shape_share"]
    by_memory = gpu.bandwidth_bytes_per_second * data["cache_to_memory"]
    return Rates(
        flops={
            Unit.HALF: half,
            Unit.FLOAT32: measured.get(Dtype.FLOAT32.value, gpu.fp32_flops * data["float32_product"]),
            Unit.INT8: half * data["int8_to_half"],
            Unit.FUSED_ATTENTION: attention,
        },
        bandwidth=gpu.bandwidth_bytes_per_second * data["bandwidth"],
        stream_bandwidth=gpu.bandwidth_bytes_per_second * data["stream_bandwidth"],
        cache_bandwidth=data["bandwidth"] * (gpu.cache_bytes_per_second or by_memory),
        cache_bytes=gpu.cache_bytes,
        num_multiprocessors=gpu.num_multiprocessors,
        dequantization=gpu.bandwidth_bytes_per_second * _dequantization_share(shares, stack_name),
        host_lists=data["list_bytes_per_second"],
        launch_seconds={
            Direction.FORWARD: data["forward_launch_seconds"],
            Direction.BACKWARD: data["backward_launch_seconds"],
        },
    )


def optimizer_bytes(optimizer: Optimizer, num_elements: int, element_bytes: int) -> int:
    """Return the bytes that one step moves for trainable elements of one size, gradient clipping included."""
    data = _data()
    costs = data["optimizers"][optimizer.value]
    passes = costs["passes"] + data["clipping_passes"]
    return num_elements * int(passes * element_bytes + costs["bytes"])


def gpu_spread() -> float:
    """Return the standard deviation of the speeds of equal GPUs, of their mean."""
    return float(_data()["gpu_spread"])


def full_gpu_slowdown() -> float:
    """Bound the slowdown of a step in which the allocator must release cached memory."""
    return float(_data()["full_gpu_slowdown"])


def _dequantization_share(shares: Mapping[str, Any], stack_name: str) -> float:
    """Return the share for a stack, whose bitsandbytes looks values up in a table or branches."""
    has_table = changes()[LibraryChange.TABLE_DEQUANTIZATION].includes(find_stack(stack_name).bitsandbytes)
    return float(shares["dequantization" if has_table else "branching_dequantization"])


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    data: dict[str, Any] = read_json("catalog/throughput")
    return data
