"""`kaitoc models`, `gpus`, `instances` and `releases`: list the names that options and manifests may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import click

from kaitoc.compiler.cli.console import terminal_columns
from kaitoc.compiler.cli.options import format_option
from kaitoc.compiler.core.records import dataclass, field_names
from kaitoc.compiler.report.listing import listing

if TYPE_CHECKING:
    from kaitoc.compiler.catalog.architecture import Architecture
    from kaitoc.compiler.catalog.releases import Release

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model: its names, its size, and the releases that can tune it."""

    name: str
    hf_id: str
    aliases: tuple[str, ...]
    model_type: str
    num_parameters: int
    max_position_embeddings: int
    tunable_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListedGpu:
    """A GPU: what it holds and how fast it is."""

    name: str
    model: str
    generation: str
    memory_bytes: int
    bandwidth_bytes_per_second: float
    bf16_flops: float
    compute_capability: tuple[int, int]
    nvlink: bool


@dataclass(frozen=True, slots=True)
class ListedInstanceType:
    """An instance type: its cloud and its GPUs; `last_release` is None while the newest release lists it."""

    name: str
    cloud: str
    gpu: str | None
    accelerator: str
    num_gpus: int
    total_gib: float
    last_release: str | None


@dataclass(frozen=True, slots=True)
class ListedRelease:
    """A Kaito release and the libraries of its tuning image."""

    name: str
    transformers: str
    peft: str
    trl: str
    bitsandbytes: str
    accelerate: str
    torch: str
    datasets: str
    tunable_presets: tuple[str, ...]


def _listed(record: type[T], entry: object, **stated: object) -> T:
    """Return an entry of a catalog as a record: its attributes by the names of the record's fields, or as stated."""
    return record(**{name: stated[name] if name in stated else getattr(entry, name) for name in field_names(record)})


@click.command()
@format_option
def models(format_name: str) -> None:
    """List the models that are known by name, and the releases that can tune them."""
    from kaitoc.compiler.catalog.models import all_models
    from kaitoc.compiler.catalog.releases import all_releases

    listed = [
        _listed(ListedModel, model, tunable_in=tuple(one.name for one in all_releases() if _is_tunable(one, model)))
        for model in all_models()
    ]
    _show(format_name, listed, ("NAME", "PARAMETERS", "CONTEXT", "TUNABLE IN", "HUB ID"), _model_row)


def _is_tunable(release: Release, model: Architecture) -> bool:
    return release.preset_of(model.name, *model.aliases) is not None


def _model_row(model: ListedModel) -> tuple[str, ...]:
    billions = f"{model.num_parameters / 1e9:.1f}B"
    return (model.name, billions, str(model.max_position_embeddings), _range_of(model.tunable_in), model.hf_id)


def _range_of(releases: Sequence[str]) -> str:
    """Return releases as the first and the last of them where none between them is missing."""
    from kaitoc.compiler.catalog.releases import all_releases

    known = [release.name for release in all_releases()]
    if len(releases) > 2 and len(releases) == known.index(releases[-1]) - known.index(releases[0]) + 1:
        return f"{releases[0]} to {releases[-1]}"
    return ", ".join(releases) or "-"


@click.command()
@format_option
def gpus(format_name: str) -> None:
    """List the known GPUs."""
    from kaitoc.compiler.catalog.gpus import all_gpus

    listed = [_listed(ListedGpu, gpu) for gpu in all_gpus()]
    _show(format_name, listed, ("NAME", "MEMORY", "GB/S", "BF16 TFLOPS", "GENERATION", "MODEL"), _gpu_row)


def _gpu_row(gpu: ListedGpu) -> tuple[str, ...]:
    from kaitoc.compiler.core.units import format_gib

    tflops = f"{gpu.bf16_flops / 1e12:g}" if gpu.bf16_flops else "-"
    bandwidth = f"{gpu.bandwidth_bytes_per_second / 1e9:g}"
    return (gpu.name, format_gib(gpu.memory_bytes), bandwidth, tflops, gpu.generation, gpu.model)


@click.command()
@format_option
def instances(format_name: str) -> None:
    """List the instance types that Kaito knows, with their GPUs."""
    from kaitoc.compiler.catalog.gpus import all_instance_types

    listed = [
        _listed(ListedInstanceType, one, gpu=one.gpu.name if one.gpu is not None else None, accelerator=one.gpu_model)
        for one in all_instance_types()
    ]
    _show(format_name, listed, ("NAME", "CLOUD", "GPUS", "GPU", "NOTE"), _instance_row)


def _instance_row(instance: ListedInstanceType) -> tuple[str, ...]:
    notes = [f"last listed by {instance.last_release}"] if instance.last_release is not None else []
    notes += ["cannot tune"] if instance.gpu is None else []
    gpu = instance.gpu or instance.accelerator
    return (instance.name, instance.cloud, str(instance.num_gpus), gpu, ", ".join(notes))


@click.command()
@format_option
def releases(format_name: str) -> None:
    """List the Kaito releases that are known, with the libraries of their tuning images."""
    from kaitoc.compiler.catalog.releases import all_releases

    listed = [_listed(ListedRelease, release) for release in all_releases()]
    headings = ("NAME", "TRANSFORMERS", "PEFT", "TRL", "BITSANDBYTES", "ACCELERATE", "TORCH", "DATASETS", "PRESETS")
    _show(format_name, listed, headings, _release_row)


def _release_row(release: ListedRelease) -> tuple[str, ...]:
    libraries = (release.transformers, release.peft, release.trl, release.bitsandbytes, release.accelerate)
    return (release.name, *libraries, release.torch, release.datasets, str(len(release.tunable_presets)))


def _show(format_name: str, listed: Sequence[T], headings: Sequence[str], row: Callable[[T], Sequence[str]]) -> None:
    """Print what is listed: records as JSON, or rows under headings."""
    if format_name == "json":
        import json

        click.echo(json.dumps([asdict(record) for record in listed], indent=2))  # type: ignore[call-overload]
        return
    click.echo(listing(headings, [row(record) for record in listed], terminal_columns()))
