"""Every manifest that `kaitoc init` offers to write, and what is said of one on its way through the other commands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from click.testing import CliRunner, Result

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.cli import cli
from kaitoc.compiler.compile.scaffold import METHODS

GPUS = ("A10-24GB", "A100-80GB", "H100-94GB")


@dataclass(frozen=True)
class LoopCase:
    """One manifest that `init` is asked for."""

    model: str
    method: str
    gpu: str
    release: str

    def __str__(self) -> str:
        return "-".join((self.model, self.method, self.gpu, self.release))


def loop_cases() -> list[LoopCase]:
    return [
        LoopCase(model, method, gpu, release.name)
        for release in all_releases()
        for model, method, gpu in product(release.tunable_presets, METHODS, GPUS)
    ]


def what_is_said(case: LoopCase, folder: Path) -> Iterator[str]:
    """Yield whatever a user hears of a manifest that `init` wrote; nothing where `init` refuses one that cannot fit."""
    path, version = folder / "tuning.yaml", ("--kaito-version", case.release)
    path.unlink(missing_ok=True)
    words = ("init", "--model", case.model, "--method", case.method, "--gpu", case.gpu)
    written = kaitoc(*words, *version, "-o", str(path))
    if written.exit_code == 1 and "too much" in written.stderr:
        return
    if written.exit_code:
        yield f"init: {written.output}"
        return
    yield from _findings("check", path, version)
    text = path.read_bytes()
    compiled = kaitoc("compile", str(path), *version, "--isolated", "--in-place")
    if compiled.exit_code:
        yield f"compile: {compiled.output}"
    if path.read_bytes() != text:
        yield f"compile changes what init wrote: {compiled.stdout}"
    yield from _findings("check after compile", path, version)


def _findings(stage: str, path: Path, version: tuple[str, ...]) -> Iterator[str]:
    checked = kaitoc("check", "--strict", "--isolated", "-f", "concise", *version, str(path))
    if checked.exit_code or checked.stdout:
        yield f"{stage}: {checked.stdout}{checked.stderr}"


def kaitoc(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))
