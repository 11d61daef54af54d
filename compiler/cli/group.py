"""The commands, each a module that is loaded when the command is called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import click

from kaitoc.compiler.cli.usage import usage_in_one_line
from kaitoc.compiler.core.wording import did_you_mean

COMMANDS = {
    "admit": "kaitoc.compiler.cli.admit:admit",
    "baseline": "kaitoc.compiler.cli.baseline:baseline",
    "check": "kaitoc.compiler.cli.check:check",
    "compile": "kaitoc.compiler.cli.compile:compile_command",
    "estimate": "kaitoc.compiler.cli.estimate:estimate",
    "explain": "kaitoc.compiler.cli.explain:explain",
    "gpus": "kaitoc.compiler.cli.catalog:gpus",
    "init": "kaitoc.compiler.cli.init:init",
    "instances": "kaitoc.compiler.cli.catalog:instances",
    "lsp": "kaitoc.compiler.cli.lsp:lsp",
    "models": "kaitoc.compiler.cli.catalog:models",
    "releases": "kaitoc.compiler.cli.catalog:releases",
    "rules": "kaitoc.compiler.cli.rules:rules",
    "run": "kaitoc.compiler.cli.run:run",
    "schema": "kaitoc.compiler.cli.schema:schema",
    "upgrade": "kaitoc.compiler.cli.upgrade:upgrade_command",
    "webhook": "kaitoc.compiler.cli.webhook:webhook",
}
_HELP = {
    "admit": "Answer an AdmissionReview.",
    "baseline": "Record today's findings, so that only new ones count.",
    "check": "Find errors in manifests.",
    "compile": "Rewrite manifests into a correct configuration that fits.",
    "estimate": "Predict the GPU memory of a fine-tune or a server.",
    "explain": "Show a rule's page.",
    "gpus": "List the known GPUs.",
    "init": "Write a Workspace and a ConfigMap to start from.",
    "instances": "List the instance types that Kaito knows.",
    "lsp": "Run the language server: diagnostics, fixes, hovers, completion.",
    "models": "List the known models.",
    "releases": "List the known Kaito releases.",
    "rules": "List the rules.",
    "run": "Execute a fine-tune with the bundled runtime.",
    "schema": "Print a JSON Schema.",
    "upgrade": "Show what breaks and what changes when Kaito is upgraded.",
    "webhook": "Serve admission over HTTPS.",
}


class _Formatter(click.HelpFormatter):
    """Writes help texts without breaking names such as `all-linear` at their hyphens."""

    _HYPHEN = "\u2011"

    def write(self, string: str) -> None:
        super().write(string.replace(self._HYPHEN, "-"))

    def write_text(self, text: str) -> None:
        super().write_text(self._unbreakable(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(name, self._unbreakable(text)) for name, text in rows], col_max, col_spacing)

    def _unbreakable(self, text: str) -> str:
        return re.sub(r"(?<=\w)-(?=\w)", self._HYPHEN, text)


class _Context(click.Context):
    formatter_class = _Formatter


class UnreadOutputError(Exception):
    """Nobody reads what a command writes; click would end it as after findings for the error itself."""

    def __init__(self, error: BrokenPipeError) -> None:
        super().__init__(str(error))
        self.error = error


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called, so that `check` starts fast."""

    context_class = _Context

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """List command names in the order of the help, without importing the commands."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None when there is none of that name."""
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        command.context_class = _Context
        return command

    def make_context(self, *words: Any, **settings: Any) -> click.Context:
        """Read what stands before the command; a mistake is told in one line."""
        try:
            with usage_in_one_line():
                return super().make_context(*words, **settings)
        except BrokenPipeError as error:
            raise UnreadOutputError(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C ends it as a shell expects, where click would exit as after findings."""
        try:
            with usage_in_one_line():
                return super().invoke(ctx)
        except BrokenPipeError as error:
            raise UnreadOutputError(error) from None
        except KeyboardInterrupt:
            from kaitoc.compiler.cli.console import stopped  # nothing else here prints

            ctx.exit(stopped())

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _HELP[name]) for name in COMMANDS])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command, suggesting the closest name when there is none."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"there is no command `{args[0]}`{did_you_mean(close) or ' (`kaitoc --help` lists them)'}")
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from kaitoc.compiler.cli.version import version_text

    click.echo(version_text())
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
              help="Show the versions of kaitoc and its schemas, and the known Kaito releases.")  # fmt: skip
def cli() -> None:
    """Check, compile and run Kaito manifests.

    Exit codes: 0 nothing at error level, 1 findings or a run that failed, 2 wrong usage or unreadable input,
    130 Ctrl-C, 141 unread output.
    """
