"""GPUs and the instance types that carry them (`schemas/catalog/gpus.json`, `instance_types.json`)."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.core.records import dataclass
from kaitoc.schemas import read_json

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. `memory_bytes` is what CUDA offers to a process; rates are dense peaks, 0 where there is no unit."""

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
    nvlink: bool

    @property
    def has_bf16(self) -> bool:
        """Return whether the GPU computes in bfloat16 (Ampere, compute capability 8.0, and later)."""
        return self.compute_capability >= (8, 0)


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A virtual machine type. `gpu` is None for accelerators on which tuning cannot run.

    `last_release` is the last Kaito release that lists it, None while the newest does.
    """

    name: str
    cloud: str
    gpu: Gpu | None
    gpu_model: str
    num_gpus: int
    nvidia: bool
    total_gib: float
    last_release: str | None


@lru_cache(maxsize=1)
def _gpus() -> tuple[tuple[Gpu, tuple[str, ...]], ...]:
    return tuple((_gpu(entry), tuple(entry["aliases"])) for entry in read_json("catalog/gpus")["gpus"])


def _gpu(entry: dict[str, object]) -> Gpu:
    numbers = {key: float(str(entry[key])) for key in entry if key.endswith(("_tflops", "_second", "_gib"))}
    capability = entry["compute_capability"]
    major, minor = capability if isinstance(capability, list) else (0, 0)
    return Gpu(
        name=str(entry["name"]),
        model=str(entry["model"]),
        generation=str(entry["generation"]),
        compute_capability=(int(major), int(minor)),
        nominal_gib=numbers["nominal_gib"],
        memory_bytes=int(str(entry["memory_bytes"])),
        bandwidth_bytes_per_second=numbers["bandwidth_gb_per_second"] * 1e9,
        fp16_flops=numbers["fp16_tflops"] * 1e12,
        bf16_flops=numbers["bf16_tflops"] * 1e12,
        tf32_flops=numbers["tf32_tflops"] * 1e12,
        fp32_flops=numbers["fp32_tflops"] * 1e12,
        nvlink=bool(entry["nvlink"]),
    )


def all_gpus() -> tuple[Gpu, ...]:
    """Return every GPU of the catalog."""
    return tuple(gpu for gpu, _ in _gpus())


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
    """Return every instance type, those that the newest release lists first."""
    return tuple(_instance_type(entry) for entry in read_json("catalog/instance_types")["instance_types"])


def _instance_type(entry: dict[str, object]) -> InstanceType:
    gpu_name, last_release = entry["gpu"], entry["last_release"]
    return InstanceType(
        name=str(entry["name"]),
        cloud=str(entry["cloud"]),
        gpu=find_gpu(str(gpu_name)) if gpu_name is not None else None,
        gpu_model=str(entry["gpu_model"]),
        num_gpus=int(str(entry["num_gpus"])),
        nvidia=bool(entry["nvidia"]),
        total_gib=float(str(entry["total_gib"])),
        last_release=str(last_release) if last_release is not None else None,
    )


@lru_cache(maxsize=1)
def _instance_types_by_name() -> dict[str, InstanceType]:
    return {instance.name.lower(): instance for instance in reversed(all_instance_types())}


def find_instance_type(name: str) -> InstanceType | None:
    """Return an instance type by name, in any case, as Kaito looks it up."""
    return _instance_types_by_name().get(name.strip().lower())


def suggest_gpus(name: str) -> list[str]:
    """Return the names of GPUs and instance types that are closest to a name, the closest first."""
    from difflib import get_close_matches

    names = {gpu.name.lower(): gpu.name for gpu in all_gpus()}
    names.update({instance.name.lower(): instance.name for instance in all_instance_types()})
    return [names[match] for match in get_close_matches(name.lower(), names, n=3, cutoff=0.5)]


def custom_gpu(memory_gib: float) -> Gpu:
    """Return a GPU that is only known by its memory; its rates are those of an A100, for want of others."""
    model = find_gpu("A100-80GB")
    if model is None:
        raise LookupError("the catalog has no A100-80GB")
    return Gpu(
        name=f"{memory_gib:g} GiB GPU",
        model="",
        generation=model.generation,
        compute_capability=model.compute_capability,
        nominal_gib=memory_gib,
        memory_bytes=int(memory_gib * _GIB),
        bandwidth_bytes_per_second=model.bandwidth_bytes_per_second,
        fp16_flops=model.fp16_flops,
        bf16_flops=model.bf16_flops,
        tf32_flops=model.tf32_flops,
        fp32_flops=model.fp32_flops,
        nvlink=False,
    )
