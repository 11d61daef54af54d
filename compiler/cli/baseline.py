"""`kaitoc baseline`: write down the findings of today, so that only new ones count."""

from __future__ import annotations

import click

from kaitoc.compiler.check.baseline import Baseline, baseline_of, baseline_text, load_baseline, save_baseline
from kaitoc.compiler.check.engine_options import EngineOptions, engine_of
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.check.request import CheckRequest, files_of, name_templates
from kaitoc.compiler.cli.completion import complete_path
from kaitoc.compiler.cli.console import EXIT_USAGE, complain, say, show_progress
from kaitoc.compiler.cli.option_records import AssumptionOptions
from kaitoc.compiler.cli.options import assumption_options, config_option, isolated_option, takes
from kaitoc.compiler.cli.standard_input import inputs_from
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import SourceError
from kaitoc.compiler.job.settings import SettingsError
from kaitoc.compiler.report.wording import plural


@dataclass(frozen=True, slots=True)
class BaselineOptions:
    """The command line of `kaitoc baseline`."""

    paths: tuple[str, ...]
    assumptions: AssumptionOptions
    output: str
    update: bool
    config: str | None
    isolated: bool


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
    help="File to write; - is standard output.",
)
@click.option("--update", is_flag=True, help="Remove findings that are gone; add none.")
@config_option
@isolated_option
@takes(BaselineOptions)
def baseline(options: BaselineOptions) -> int:
    """Write the findings in PATHS to a file; `kaitoc check --baseline FILE` then reports only new ones.

    PATHS are files or folders (default: the current folder); - reads standard input. Nothing is written when one of
    them cannot be read, so a typo never overwrites an existing baseline. With --update the file only shrinks: findings
    that are gone from PATHS, and those of deleted files, are removed.
    """
    request = CheckRequest(
        EngineOptions(options.assumptions.overrides, isolated=options.isolated, config=options.config)
    )
    engine, inputs = engine_of(request.engine), inputs_from(options.paths)
    show_progress()
    outcome = engine.check(files_of(inputs, engine, request))
    if inputs.text is not None:
        name_templates(engine, outcome)
    for error in outcome.errors:
        complain(str(error))
    if outcome.errors:
        return EXIT_USAGE
    written, summary = _written(options, outcome)
    if options.output == "-":
        click.echo(baseline_text(written), nl=False)
        return 0
    try:
        save_baseline(written, options.output)
    except OSError as error:
        what = f"{options.output}: cannot be written: {error.strerror or error}"
        raise SourceError(what, path=options.output) from error
    say(summary)
    return 0


def _written(options: BaselineOptions, outcome: Outcome) -> tuple[Baseline, str]:
    """Return the baseline to write and a line about it: all findings, or those of the baseline that remain."""
    if options.output == "-":
        if options.update:
            raise SettingsError("--update needs a baseline file; -o - is standard output")
        return baseline_of(outcome.findings, "baseline.json"), ""
    if not options.update:
        counts = f"{plural(len(outcome.findings), 'finding')} in {plural(len(outcome.files), 'file')}"
        return baseline_of(outcome.findings, options.output), f"{options.output}: {counts}"
    before = load_baseline(options.output)
    after = before.still_found(outcome.findings, outcome.files)
    gone = before.num_findings - after.num_findings
    return after, f"{options.output}: {plural(after.num_findings, 'finding')}, {gone} removed"
