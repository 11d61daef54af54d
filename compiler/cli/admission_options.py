"""The options of `kaitoc admit` and `kaitoc webhook`, and the policy that they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kaitoc.compiler.cli.engines import engine_of
from kaitoc.compiler.cli.options import assumption_options

if TYPE_CHECKING:
    from kaitoc.compiler.admission import Policy

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


def policy_of(options: dict[str, Any], *, mutates: bool) -> Policy:
    """Return the policy that options state; raises `UserError` where they contradict the catalogs."""
    from kaitoc.compiler.admission import Policy
    from kaitoc.rules import UPDATE_RULES

    engine = engine_of(options, refuse_error_suppressions=not options["allow_suppressions"])
    engine.assumptions_for(".")
    return Policy(engine, UPDATE_RULES, is_strict=options["strict"], mutates=mutates)
