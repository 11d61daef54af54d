"""Options that several commands share, and how their values become what the engine takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from kaitoc.compiler.check.engine_options import EngineOptions, selectors_in
from kaitoc.compiler.cli.completion import complete_gpu, complete_model, complete_release
from kaitoc.compiler.job.assumptions import Overrides

F = TypeVar("F", bound=Callable[..., Any])

_ASSUMPTIONS = (
    click.option("--model", metavar="M", shell_complete=complete_model,
                 help="Model to assume: a Kaito preset, a hub id or a short name."),
    click.option("--gpu", metavar="G", shell_complete=complete_gpu,
                 help="GPU to assume: a name such as A100-80GB, or an instance type."),
    click.option("--gpu-memory", type=click.FloatRange(min=1, max=4096), metavar="GIB",
                 help="Memory of the GPU to assume, in GiB."),
    click.option("--kaito-version", metavar="V", shell_complete=complete_release,
                 help="Kaito release to judge by (default: the newest known)."),
    click.option("--target", type=click.Choice(["kaito", "bundled"]), help="Runtime the manifest is meant for."),
    click.option("--seq-len", type=click.IntRange(min=1), metavar="N",
                 help="Sequence length to assume, in tokens (default: what the release truncates to)."),
    click.option("--margin", type=click.FloatRange(0, 90), metavar="PCT",
                 help="Share of the GPU's memory to keep free, in percent (default: 5)."),
)  # fmt: skip


def assumption_options(command: F) -> F:
    """Add the options that say what to assume where manifests are silent."""
    for option in reversed(_ASSUMPTIONS):
        command = option(command)
    return command


def overrides(values: dict[str, Any], attention: str | None = None) -> Overrides:
    """Return the values of `assumption_options` as the engine takes them."""
    return Overrides(
        model=values["model"],
        gpu=values["gpu"],
        gpu_memory_gib=values["gpu_memory"],
        kaito_version=values["kaito_version"],
        target=values["target"],
        seq_len_tokens=values["seq_len"],
        margin_percent=values["margin"],
        attention=attention,
    )


def engine_options(values: dict[str, Any]) -> EngineOptions:
    """Return the values of `assumption_options`, `--select`, `--ignore` and `--isolated` as the engine takes them."""
    select, ignore = selectors_in(values["select"]), selectors_in(values["ignore"])
    return EngineOptions(overrides(values), select, ignore, values["isolated"])
