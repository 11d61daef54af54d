"""The options that `kaitoc admit` and `kaitoc webhook` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from kaitoc.compiler.admission.policy import PolicyOptions
from kaitoc.compiler.cli.options import assumption_options, engine_options

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--select", multiple=True, metavar="C", help="Run only these rules (code, start of a code, or name)."),
    click.option("--ignore", multiple=True, metavar="C", help="Leave these rules out."),
    click.option("--strict", is_flag=True, help="Refuse for warnings too."),
    click.option("--allow-suppressions", is_flag=True, help="Let comments in an object suppress errors."),
    click.option("--isolated", is_flag=True, help="Ignore settings files."),
)


def admission_options(command: F) -> F:
    """Add the options that say how to judge."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return assumption_options(command)


def policy_options(values: dict[str, Any]) -> PolicyOptions:
    """Return the values of `admission_options` as admission takes them."""
    return PolicyOptions(engine_options(values), values["strict"], values["allow_suppressions"])
