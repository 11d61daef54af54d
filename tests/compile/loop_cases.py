"""Every manifest that `kaitoc init` offers to write, and what is said of one on its way through the other commands."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from click.testing import CliRunner, Result

from kaitoc.compiler.catalog.gpus import all_gpus, all_instance_types
from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.cli import cli
from kaitoc.compiler.compile.scaffold import CLOUDS, METHODS

GPUS = ("A10-24GB", "A100-80GB", "H100-94GB")

_OPTIONS = {
    "--gpu": tuple(gpu.name for gpu in all_gpus()) + tuple(instance.name for instance in all_instance_types()),
    "--cloud": CLOUDS,
    "--method": METHODS,
    "--seq-len": ("64", "1024", "2048", "8192", "32768"),
    "--data-format": ("messages", "prompt-completion"),
    "--num-samples": ("1", "200", "5000", "1000000"),
    "--batch": ("1", "3", "8", "256"),
    "--rank": ("1", "8", "24", "128", "512", "1024"),
    "--name": ("a", "x" * 53),
    "--namespace": ("team",),
    "--output-image": ("registry.example.com/team/adapter:v2",),
}
"""Values of the options of `init`, of which a drawn case has a third."""


@dataclass(frozen=True)
class LoopCase:
    """One manifest that `init` is asked for; `release` and `target` are what all commands are told."""

    words: tuple[str, ...]
    release: str
    target: str = "kaito"

    def __str__(self) -> str:
        return "-".join((*(word for word in self.words if not word.startswith("--")), self.release))


def loop_cases() -> list[LoopCase]:
    """Every tunable model with every method on three GPUs, in every release."""
    return [
        LoopCase(("--model", model, "--method", method, "--gpu", gpu), release.name)
        for release in all_releases()
        for model, method, gpu in product(release.tunable_presets, METHODS, GPUS)
    ]


def drawn_cases(num_cases: int, seed: int) -> list[LoopCase]:
    """Draw manifests with any of the options that `init` has, on any GPU or instance type of any cloud."""
    draw = random.Random(seed)
    return [_drawn_case(draw) for _ in range(num_cases)]


def _drawn_case(draw: random.Random) -> LoopCase:
    release = draw.choice(all_releases())
    words = ["--model", draw.choice(release.tunable_presets)]
    for option, values in _OPTIONS.items():
        if draw.random() < 1 / 3:
            words += [option, draw.choice(values)]
    return LoopCase(tuple(words), release.name, draw.choice(("kaito", "kaito", "bundled")))


def what_is_said(case: LoopCase, folder: Path) -> Iterator[str]:
    """Yield what a user hears of a manifest that `init` wrote; nothing of one that it refuses, if its advice works."""
    path = folder / "tuning.yaml"
    told = ("--kaito-version", case.release, "--target", case.target)
    path.unlink(missing_ok=True)
    written = kaitoc("init", *case.words, *told, "-o", str(path))
    if written.exit_code:
        yield from _refusal(case, written, told, path)
        return
    yield from _findings("check", path, told)
    text = path.read_bytes()
    compiled = kaitoc("compile", str(path), *told, "--isolated", "--in-place")
    if compiled.exit_code:
        yield f"compile: {compiled.output}"
    if path.read_bytes() != text:
        yield f"compile changes what init wrote: {compiled.stdout}"
    yield from _findings("check after compile", path, told)


def _refusal(case: LoopCase, written: Result, told: tuple[str, ...], path: Path) -> Iterator[str]:
    """Yield a refusal that is no line about what was asked for, or whose options do not help."""
    if len(written.stderr.splitlines()) != 1 or "internal error" in written.stderr:
        yield f"init: {written.output}"
    advice = re.search(r"it fits with `(.*)`", written.stderr)
    if advice is not None:
        followed = kaitoc("init", *case.words, *told, *advice[1].split(), "-o", str(path))
        if followed.exit_code:
            yield f"init, as it advised: {followed.output}"


def _findings(stage: str, path: Path, told: tuple[str, ...]) -> Iterator[str]:
    checked = kaitoc("check", "--strict", "--isolated", "-f", "concise", *told, str(path))
    if checked.exit_code or checked.stdout:
        yield f"{stage}: {checked.stdout}{checked.stderr}"


def kaitoc(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))
