"""GPUs and the instance types that carry them (`schemas/catalog/gpus.json`, `instance_types.json`)."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.errors import CatalogError
from kaitoc.compiler.core.annotations import Any
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.units import BYTES_PER_GBIT, GIB
from kaitoc.schemas import read_json

AMPERE = (8, 0)
"""The first compute capability with bfloat16, TF32 and the flash kernels."""

ADA = (8, 9)
"""The first compute capability with units for 8-bit floats."""

HOPPER = (9, 0)

_GPUS = "schemas/catalog/gpus.json"
_INSTANCE_TYPES = "schemas/catalog/instance_types.json"
_CACHE_RATE = "cache_gb_per_second"
_NETWORK = "network_gbit_per_second"

_GPU_KEYS = ("name", "model", "generation", "compute_capability", "nvlink_gb_per_second", "pcie_generation",
             "nominal_gib", "memory_bytes", "bandwidth_gb_per_second", "cache_bytes", "fp16_tflops", "bf16_tflops",
             "tf32_tflops", "fp32_tflops", "multiprocessors", "threads_per_multiprocessor")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. `memory_bytes` is what CUDA offers to a process; rates are dense peaks, 0 where there is no unit.

    `cache_bytes` is its second-level cache, `resident_threads` what it can run at once. `nvlink_bytes_per_second` is
    what all its NVLinks carry in each direction, 0 without. `matmul_flops` is what matrix products were measured at by
    type, empty where nobody did, `cache_bytes_per_second` what reading the cache was, None likewise.
    """

    name: str
    model: str
    generation: str
    compute_capability: tuple[int, int]
    nominal_gib: float
    memory_bytes: int
    bandwidth_bytes_per_second: float
    fp16_flops: float
    bf16_flops: float
    tf32_flops: float
    fp32_flops: float
    nvlink_bytes_per_second: float
    pcie_generation: int
    num_multiprocessors: int
    resident_threads: int
    cache_bytes: int
    matmul_flops: tuple[tuple[str, float], ...] = ()
    cache_bytes_per_second: float | None = None

    @property
    def has_bf16(self) -> bool:
        """Return whether the GPU computes in bfloat16."""
        return self.compute_capability >= AMPERE

    @property
    def nvlink(self) -> bool:
        """Return whether the card has NVLinks; what they join is the machine's matter."""
        return self.nvlink_bytes_per_second > 0


@dataclass(frozen=True, slots=True)
class ContextReport:
    """What a run on a GPU reported when it was out of memory, which tells its CUDA context; `model` is the GPU's."""

    model: str
    in_use_gib: float
    allocated_gib: float
    unallocated_mib: float
    source: str


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A virtual machine type. `gpu` is None for accelerators on which tuning cannot run.

    `last_release` is the last Kaito release that lists it, None while the newest does. `joins_gpus_by_nvlink` is
    whether NVLinks join all its GPUs, `network_bytes_per_second` what it reaches other machines with; None where that
    is not known.
    """

    name: str
    cloud: str
    gpu: Gpu | None
    gpu_model: str
    num_gpus: int
    total_gib: float
    last_release: str | None
    joins_gpus_by_nvlink: bool | None = None
    network_bytes_per_second: float | None = None


@lru_cache(maxsize=1)
def _catalog() -> Any:
    return read_json("catalog/gpus")


@lru_cache(maxsize=1)
def _gpus() -> tuple[tuple[Gpu, tuple[str, ...]], ...]:
    return tuple((_gpu(entry), tuple(entry.get("aliases", ()))) for entry in _catalog()["gpus"])


def _gpu(entry: dict[str, Any]) -> Gpu:
    missing = [key for key in _GPU_KEYS if key not in entry]
    if missing:
        raise CatalogError(
            f"{_GPUS}: the GPU {entry.get('name', 'without a name')} lacks {', '.join(f'`{key}`' for key in missing)}"
        )
    major, minor = entry["compute_capability"]
    return Gpu(
        name=entry["name"],
        model=entry["model"],
        generation=entry["generation"],
        compute_capability=(major, minor),
        nominal_gib=float(entry["nominal_gib"]),
        memory_bytes=entry["memory_bytes"],
        bandwidth_bytes_per_second=float(entry["bandwidth_gb_per_second"]) * 1e9,
        fp16_flops=float(entry["fp16_tflops"]) * 1e12,
        bf16_flops=float(entry["bf16_tflops"]) * 1e12,
        tf32_flops=float(entry["tf32_tflops"]) * 1e12,
        fp32_flops=float(entry["fp32_tflops"]) * 1e12,
        nvlink_bytes_per_second=float(entry["nvlink_gb_per_second"]) * 1e9,
        pcie_generation=entry["pcie_generation"],
        num_multiprocessors=entry["multiprocessors"],
        resident_threads=entry["multiprocessors"] * entry["threads_per_multiprocessor"],
        cache_bytes=entry["cache_bytes"],
        matmul_flops=tuple((name, tflops * 1e12) for name, tflops in entry.get("matmul_tflops", {}).items()),
        cache_bytes_per_second=float(entry[_CACHE_RATE]) * 1e9 if _CACHE_RATE in entry else None,
    )


def all_gpus() -> tuple[Gpu, ...]:
    """Return every GPU of the catalog; raises `CatalogError` for an entry that lacks something."""
    return tuple(gpu for gpu, _ in _gpus())


def context_reports() -> tuple[ContextReport, ...]:
    """List what stacks on catalog GPUs reported about their memory, each with its source."""
    return tuple(
        ContextReport(model=entry["model"], **report)
        for entry in _catalog()["gpus"]
        for report in entry.get("context_reports", ())
    )


@lru_cache(maxsize=64)
def find_gpu(name: str) -> Gpu | None:
    """Return a GPU by name or alias, in any case."""
    wanted = name.strip().lower()
    for gpu, aliases in _gpus():
        if wanted == gpu.name.lower() or wanted in (alias.lower() for alias in aliases):
            return gpu
    return None


@lru_cache(maxsize=1)
def all_instance_types() -> tuple[InstanceType, ...]:
    """Return every instance type; raises `CatalogError` for an entry that lacks something."""
    return tuple(_instance_type(entry) for entry in read_json("catalog/instance_types")["instance_types"])


def _instance_type(entry: dict[str, Any]) -> InstanceType:
    name = entry.get("name", "without a name")
    gpu = _gpu_of(name, entry["gpu"]) if "gpu" in entry else None
    required = ("name", "cloud", "num_gpus", *(() if gpu is not None else ("accelerator", "total_gib")))
    missing = [key for key in required if key not in entry]
    if missing:
        keys = ", ".join(f"`{key}`" for key in missing)
        raise CatalogError(f"{_INSTANCE_TYPES}: the instance type {name} lacks {keys}")
    return InstanceType(
        name=name,
        cloud=entry["cloud"],
        gpu=gpu,
        gpu_model=gpu.model if gpu is not None else entry["accelerator"],
        num_gpus=entry["num_gpus"],
        total_gib=float(
            entry["total_gib"] if "total_gib" in entry or gpu is None else gpu.nominal_gib * entry["num_gpus"]
        ),
        last_release=entry.get("last_release"),
        joins_gpus_by_nvlink=_joins_by_nvlink(entry, gpu),
        network_bytes_per_second=entry[_NETWORK] * BYTES_PER_GBIT if _NETWORK in entry else None,
    )


def _joins_by_nvlink(entry: dict[str, Any], gpu: Gpu | None) -> bool | None:
    """Return whether NVLinks join all GPUs of an instance type, None where the cards have them and nobody says."""
    if "nvlink" in entry:
        return True
    return None if gpu is not None and gpu.nvlink else False


def _gpu_of(instance_type: str, name: str) -> Gpu:
    gpu = find_gpu(name)
    if gpu is None:
        raise CatalogError(f"{_INSTANCE_TYPES}: {instance_type} has the GPU {name}, which gpus.json lacks")
    return gpu


@lru_cache(maxsize=1)
def _instance_types_by_name() -> dict[str, InstanceType]:
    return {instance.name.lower(): instance for instance in reversed(all_instance_types())}


def find_instance_type(name: str) -> InstanceType | None:
    """Return an instance type by name, in any case, as Kaito looks it up."""
    return _instance_types_by_name().get(name.strip().lower())


def suggest_gpus(name: str) -> list[str]:
    """Return the names of GPUs and instance types that are closest to a name, the closest first."""
    return _closest(name, {gpu.name.lower(): gpu.name for gpu in all_gpus()} | _names_of_instance_types())


def suggest_instance_types(name: str) -> list[str]:
    """Return the names of instance types that are closest to a name, the closest first."""
    return _closest(name, _names_of_instance_types())


def _closest(name: str, names: dict[str, str]) -> list[str]:
    from difflib import get_close_matches

    return [names[match] for match in get_close_matches(name.lower(), names, n=3, cutoff=0.5)]


def _names_of_instance_types() -> dict[str, str]:
    return {instance.name.lower(): instance.name for instance in all_instance_types()}


def custom_gpu(memory_gib: float) -> Gpu:
    """Return a GPU that is only known by its memory; what else is taken for it stands under `unlisted`."""
    unlisted = _catalog()["unlisted"]
    like = find_gpu(unlisted["like"])
    if like is None:
        raise CatalogError(f"{_GPUS}: `unlisted` names the GPU {unlisted['like']}, which is not an entry")
    return replace(
        like,
        name=f"{memory_gib:g} GiB GPU",
        model="",
        nominal_gib=memory_gib,
        memory_bytes=int(memory_gib * GIB),
        nvlink_bytes_per_second=float(unlisted["nvlink_gb_per_second"]) * 1e9,
        cache_bytes=unlisted["cache_bytes"],
        cache_bytes_per_second=None,
    )


def stand_in_for(gpu: Gpu) -> Gpu | None:
    """Return the listed GPU that one is taken to be as fast as which is only known by its memory; None for a listed."""
    return None if gpu.model else find_gpu(_catalog()["unlisted"]["like"])
