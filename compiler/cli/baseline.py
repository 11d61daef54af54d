"""`kaitoc baseline`: write down the findings of today, so that only new ones count."""

from __future__ import annotations

from typing import Any

import click

from kaitoc.compiler.assumptions import AssumptionError
from kaitoc.compiler.baseline import baseline_of, save_baseline
from kaitoc.compiler.cli.options import assumption_options, overrides
from kaitoc.compiler.engine import Engine, RuleSet, find_files
from kaitoc.compiler.settings import SettingsError, SettingsFinder


@click.command()
@click.argument("paths", nargs=-1)
@assumption_options
@click.option(
    "-o", "--output", default="kaitoc-baseline.json", show_default=True, metavar="FILE", help="Where to write it."
)
@click.option("--isolated", is_flag=True, help="Ignore settings files.")
@click.pass_context  # fmt: skip
def baseline(ctx: click.Context, /, paths: tuple[str, ...], output: str, isolated: bool, **options: Any) -> None:
    """Write the findings in PATHS to a file; `kaitoc check --baseline FILE` then reports only new ones."""
    from kaitoc.rules import FILE_RULES, JOB_RULES

    engine = Engine(RuleSet(FILE_RULES, JOB_RULES), overrides(options), SettingsFinder(isolated=isolated))
    try:
        outcome = engine.check(find_files(paths or (".",), engine.settings))
        save_baseline(baseline_of(outcome.findings, output), output)
    except (AssumptionError, SettingsError) as error:
        click.echo(f"kaitoc: {error}", err=True)
        ctx.exit(2)
    except OSError as error:
        click.echo(f"kaitoc: {output}: cannot be written: {error.strerror or error}", err=True)
        ctx.exit(2)
    for message in outcome.errors:
        click.echo(f"kaitoc: {message}", err=True)
    click.echo(f"{output}: {len(outcome.findings)} findings in {len(outcome.files)} files")
    ctx.exit(2 if outcome.errors else 0)
