"""What comes by pipe: the manifests themselves, or what Helm or kustomize rendered."""

from __future__ import annotations

import sys

from kaitoc.compiler.check.inputs import Inputs
from kaitoc.compiler.cli.console import complain
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.settings import SettingsError


def read_standard_input(what: str) -> bytes:
    """Read standard input; on a terminal, say what is expected."""
    if sys.stdin is None:
        return b""
    if sys.stdin.isatty():
        complain(f"reading {what} from standard input; press Ctrl-D to end")
    return sys.stdin.buffer.read()


def inputs_from(paths: tuple[str, ...], name: str = "<stdin>") -> Inputs:
    """Return the paths of a command line, or for `-` standard input, which reports call `name`.

    Raises `SettingsError` for `-` beside other paths, and `SourceError` for input that is no text.
    """
    if "-" not in paths:
        return Inputs(paths)
    if len(paths) > 1:
        raise SettingsError("`-` (standard input) cannot be mixed with paths")
    return Inputs.of_text(Source.decode(name, read_standard_input("manifests")))
