"""`kaitoc upgrade`: what another Kaito release does to manifests, and how to keep them as they are."""

from __future__ import annotations

import os
import sys

import click

from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.check.engine_options import EngineOptions, engine_of
from kaitoc.compiler.check.inputs import find_files
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.check.upgrade import Upgrade, errors_left, keep_behaviour, upgrade
from kaitoc.compiler.cli.completion import complete_path, complete_release
from kaitoc.compiler.cli.console import EXIT_USAGE, complain, say, show_progress
from kaitoc.compiler.cli.options import (
    color_option,
    config_option,
    format_option,
    gpu_option,
    isolated_option,
    model_option,
    takes,
)
from kaitoc.compiler.compile.driver import describe_problem
from kaitoc.compiler.core.edits import unified_diff
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source, SourceError, write_atomically
from kaitoc.compiler.job.assumptions import Overrides, release_named
from kaitoc.compiler.job.settings import SettingsError
from kaitoc.compiler.report.style import Color, Style, wants_color
from kaitoc.compiler.report.wording import plural
from kaitoc.rules import invalid_yaml

EXIT_BREAKS = 1


@dataclass(frozen=True, slots=True)
class UpgradeOptions:
    """The command line of `kaitoc upgrade`."""

    paths: tuple[str, ...]
    from_release: str
    to_release: str
    model: str | None
    gpu: str | None
    format_name: str
    fix: bool
    diff: bool
    color: str
    config: str | None
    isolated: bool

    @property
    def wants_color(self) -> bool:
        """Return whether to color what goes to standard output."""
        return wants_color(sys.stdout, os.environ, Color(self.color))

    def engine(self, release: Release) -> EngineOptions:
        """Build the engine's options for one of the two releases, always with Kaito's own image as target."""
        overrides = Overrides(model=self.model, gpu=self.gpu, kaito_version=release.name, target="kaito")
        return EngineOptions(overrides, isolated=self.isolated, config=self.config)


@click.command("upgrade")
@click.argument("paths", nargs=-1, metavar="[PATHS]", shell_complete=complete_path)
@click.option(
    "--from",
    "from_release",
    required=True,
    metavar="V",
    shell_complete=complete_release,
    help="Kaito release that the manifests run on.",
)
@click.option(
    "--to",
    "to_release",
    required=True,
    metavar="V",
    shell_complete=complete_release,
    help="Kaito release to upgrade to.",
)
@model_option
@gpu_option
@format_option
@click.option("--fix", is_flag=True, help="Write the old defaults, and apply the safe fixes of what breaks.")
@click.option("--diff", is_flag=True, help="Show what --fix would change, without changing it.")
@color_option
@config_option
@isolated_option
@takes(UpgradeOptions)
def upgrade_command(options: UpgradeOptions) -> int:  # fmt: skip
    """Show what breaks and what changes when Kaito is upgraded.

    PATHS are files or folders. Of each run: errors that the newer release adds, defaults that change because an option
    is left out, memory and speed before and after. Without PATHS the releases themselves are compared. Exit code 1 when
    something breaks.
    """
    before, after = release_named(options.from_release), release_named(options.to_release)
    if options.fix and options.diff:
        raise SettingsError("--fix and --diff are mutually exclusive")
    if before.number >= after.number:
        raise SettingsError(f"--to {after.name} is not newer than --from {before.name}")
    if not options.paths:
        if options.fix or options.diff:
            raise SettingsError("--fix and --diff need PATHS")
        return _compare(options, before, after)
    return _upgrade(options, before, after)


def _compare(options: UpgradeOptions, before: Release, after: Release) -> int:
    from kaitoc.compiler.check.release_difference import difference
    from kaitoc.compiler.report.upgrade import difference_json, difference_text

    found = difference(before, after)
    if options.format_name == "json":
        click.echo(difference_json(found, before, after))
    else:
        say(difference_text(found, before, after))
    return 0


def _upgrade(options: UpgradeOptions, before: Release, after: Release) -> int:
    old, new = engine_of(options.engine(before)), engine_of(options.engine(after))
    files = list(find_files(options.paths, new.settings))
    show_progress()
    found = upgrade(old, new, files)
    for error in found.outcome.errors:
        complain(str(error))
    if found.outcome.errors:
        return EXIT_USAGE
    if options.fix or options.diff:
        texts = sorted(keep_behaviour(new, found).items(), key=lambda item: item[0].path)
        if options.diff:
            for source, text in texts:
                click.echo(Style(options.wants_color).diff(unified_diff(source, text)), nl=False, color=True)
            return _exit_code(found)
        for source, text in texts:
            _write(source, text)
        complain(f"changed {plural(len(texts), 'file')}")
        return _tell_what_is_left(found, engine_of(options.engine(after)).check(files), options)
    _tell(found, options, before, after)
    return _exit_code(found)


def _tell(found: Upgrade, options: UpgradeOptions, before: Release, after: Release) -> None:
    from kaitoc.compiler.report.upgrade import upgrade_json, upgrade_text

    for checked in found.outcome.checked:
        if checked.note:
            complain(checked.note)
    for finding in found.outcome.findings:
        if finding.code == invalid_yaml.CODE:
            complain(describe_problem(finding))
    if options.format_name == "json":
        click.echo(upgrade_json(found, before, after))
        return
    say(upgrade_text(found, before, after, color=options.wants_color))
    if not found.jobs and not found.servers:
        complain("no tuning job or server found in the given paths")


def _tell_what_is_left(found: Upgrade, now: Outcome, options: UpgradeOptions) -> int:
    """Print the errors that fixing left; return the exit code."""
    from kaitoc.compiler.report.upgrade import findings_text

    left = errors_left(found.outcome_before, now)
    if left:
        say(findings_text(left, color=options.wants_color).removesuffix("\n"))
    complain(f"{plural(len(left), 'error')} left" if left else "runs as before")
    return EXIT_BREAKS if left else 0


def _exit_code(found: Upgrade) -> int:
    return EXIT_BREAKS if found.breaks else 0


def _write(source: Source, text: str) -> None:
    try:
        write_atomically(source.path, source.encode(text))
    except OSError as error:
        what = f"{source.path}: cannot be written: {error.strerror or error}"
        raise SourceError(what, path=source.path) from error
