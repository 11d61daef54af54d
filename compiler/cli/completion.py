"""Values that a shell offers for options; the catalogs are read only when a shell asks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def complete_path(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell offer its files; it offers none by itself where a command completes its arguments."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def complete_format(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the report formats that begin with what was typed."""
    from kaitoc.compiler.report import FORMATS

    return _beginning_with(incomplete, FORMATS)


def complete_model(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the catalog's models that begin with what was typed."""
    from kaitoc.compiler.catalog.models import all_models

    return _beginning_with(incomplete, (model.name for model in all_models()))


def complete_gpu(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the GPUs and instance types that begin with what was typed."""
    from kaitoc.compiler.catalog.gpus import all_gpus, all_instance_types

    gpus = [gpu.name for gpu in all_gpus()]
    return _beginning_with(incomplete, [*gpus, *(instance.name for instance in all_instance_types())])


def complete_release(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the Kaito releases that begin with what was typed."""
    from kaitoc.compiler.catalog.releases import all_releases

    return _beginning_with(incomplete, (release.name for release in all_releases()))


def complete_stack(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the software stacks that begin with what was typed."""
    from kaitoc.compiler.memory.stacks import all_stacks

    return _beginning_with(incomplete, (stack.name for stack in all_stacks()))


def complete_rule(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the codes and names of rules that begin with what was typed."""
    from kaitoc.rules import RULES

    return _beginning_with(incomplete, (name for rule in RULES for name in (rule.CODE, rule.NAME)))


def _beginning_with(incomplete: str, names: Iterable[str]) -> list[str]:
    """Return the names that begin with what was typed, in any case, each once and in order."""
    return sorted({name for name in names if name.lower().startswith(incomplete.lower())})
