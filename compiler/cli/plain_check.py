"""Plain command lines of `kaitoc check`, read without click, whose import takes a sixth of the check of one file.

Flags and options that take a text are read here, where they are written out. Click has the last word on anything else:
other commands, numbers and choices, help, mistakes, shell completion.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import yaml  # noqa: F401  # deeper down its expressions cross the end of a piece of Python's stack, a fortieth of a check

from kaitoc.compiler.cli.check_options import CheckOptions
from kaitoc.compiler.cli.option_records import GROUPS, record_of
from kaitoc.compiler.core.annotations import Any

_COMPLETION = "_KAITOC_COMPLETE"
"""The variable by which a shell asks click for completions."""
_FLAGS = {
    name: name[2:].replace("-", "_")
    for name in ("--strict", "--require", "--exit-zero", "--statistics", "--isolated", "--quiet", "--verbose")
}
_TEXTS = {
    name: name[2:].replace("-", "_")
    for name in ("--output-file", "--baseline", "--config", "--model", "--gpu", "--kaito-version")
}
_REPEATABLE = {
    "--format": "formats",
    "--exclude": "excludes",
    "--select": "select",
    "--ignore": "ignore",
    "--price": "prices",
}


def plain_check(arguments: list[str], environment: Mapping[str, str]) -> CheckOptions | None:
    """Parse a command line of `kaitoc check`, None where click has to read it."""
    if arguments[:1] != ["check"] or _COMPLETION in environment or os.name == "nt":  # on Windows click expands patterns
        return None
    parameters: dict[str, Any] = {"paths": ()}
    remaining = iter(arguments[1:])
    for argument in remaining:
        name, equals, text = argument.partition("=")
        if argument in _FLAGS:
            parameters[_FLAGS[argument]] = True
        elif name in _TEXTS or name in _REPEATABLE:
            text = text if equals else next(remaining, "")
            if not text or text.startswith("-"):
                return None
            if name in _TEXTS:
                parameters[_TEXTS[name]] = text
            else:
                parameters[_REPEATABLE[name]] = (*parameters.get(_REPEATABLE[name], ()), text)
        elif argument.startswith("-") and argument != "-":
            return None
        else:
            parameters["paths"] += (argument,)
    return record_of(CheckOptions, parameters, GROUPS)
