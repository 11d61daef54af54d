"""`kaitoc baseline`: write down the findings of today, so that only new ones count."""

from __future__ import annotations

from typing import Any

import click

from kaitoc.compiler.check.baseline import baseline_of, save_baseline
from kaitoc.compiler.check.engine import Engine, RuleSet, find_files
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.cli.completion import complete_path
from kaitoc.compiler.cli.options import assumption_options, overrides
from kaitoc.compiler.cli.standard_input import check_standard_input, name_templates
from kaitoc.compiler.core.source import UserError
from kaitoc.compiler.job.settings import SettingsFinder

EXIT_USAGE = 2


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATHS|-]", shell_complete=complete_path)
@assumption_options
@click.option(
    "-o",
    "--output",
    default="kaitoc-baseline.json",
    show_default=True,
    metavar="FILE",
    shell_complete=complete_path,
    help="Where to write it.",
)
@click.option("--isolated", is_flag=True, help="Ignore settings files.")
@click.pass_context
def baseline(ctx: click.Context, /, paths: tuple[str, ...], output: str, isolated: bool, **options: Any) -> None:
    """Write the findings in PATHS to a file; `kaitoc check --baseline FILE` then reports only new ones.

    PATHS are files or folders (default: the current folder); - reads standard input. Nothing is written when one of
    them cannot be read, so that a slip leaves the baseline that is there.
    """
    from kaitoc.rules import FILE_RULES, JOB_RULES

    engine = Engine(RuleSet(FILE_RULES, JOB_RULES), overrides(options), SettingsFinder(isolated=isolated))
    try:
        outcome = _check(paths, engine)
        for message in outcome.errors:
            click.echo(f"kaitoc: {message}", err=True)
        if outcome.errors:
            ctx.exit(EXIT_USAGE)
        save_baseline(baseline_of(outcome.findings, output), output)
    except UserError as error:
        click.echo(f"kaitoc: {error}", err=True)
        ctx.exit(EXIT_USAGE)
    except OSError as error:
        click.echo(f"kaitoc: {output}: cannot be written: {error.strerror or error}", err=True)
        ctx.exit(EXIT_USAGE)
    click.echo(f"{output}: {len(outcome.findings)} findings in {len(outcome.files)} files")


def _check(paths: tuple[str, ...], engine: Engine) -> Outcome:
    """Return what is found in files, or in standard input, whose findings are keyed by the template they come from."""
    if "-" not in paths:
        return engine.check(find_files(paths or (".",), engine.settings))
    outcome = check_standard_input(paths, engine)
    name_templates(engine, outcome)
    return outcome
