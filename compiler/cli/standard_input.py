"""Checking what comes by pipe: the manifests themselves, or what Helm or kustomize rendered."""

from __future__ import annotations

import sys

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.settings import SettingsError


def check_standard_input(paths: tuple[str, ...], engine: Engine, name: str = "<stdin>") -> Outcome:
    """Return what is found in standard input, which reports call `name`; `paths` must hold nothing but `-`.

    Raises `SettingsError` where there are other paths too, and `SourceError` for input that is no text.
    """
    if len(paths) > 1:
        raise SettingsError("`-` (standard input) cannot be mixed with paths")
    source = Source.decode(name, sys.stdin.buffer.read())
    engine.library.add_source(source)
    return engine.check([source.path])


def name_templates(engine: Engine, outcome: Outcome) -> None:
    """Name the templates that standard input was rendered from, where it says so."""
    from kaitoc.compiler.manifest.rendered import tell_origins

    for checked in outcome.checked:
        if not checked.error:
            checked.move(tell_origins(checked.findings, engine.library.load(checked.path)))
