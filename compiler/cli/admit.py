"""`kaitoc admit`: answer an AdmissionReview."""

from __future__ import annotations

import sys
from typing import Any

import click

from kaitoc.compiler.cli.admission_options import admission_options, policy_options
from kaitoc.compiler.cli.completion import complete_path
from kaitoc.compiler.core.source import SourceError, UserError

EXIT_REFUSED = 1
EXIT_USAGE = 2


@click.command()
@click.argument("file", default="-", metavar="[FILE|-]", shell_complete=complete_path)
@admission_options
@click.option("--mutate", is_flag=True, help="Answer with a patch of the safe fixes.")
@click.option(
    "--partners",
    multiple=True,
    metavar="PATH",
    shell_complete=complete_path,
    help="A file or folder with the objects of the cluster; repeatable.",
)
@click.option(
    "--suite",
    metavar="DIR",
    shell_complete=complete_path,
    help="Answer every review.yaml below a folder; compare with its expected.yaml.",
)
@click.pass_context
def admit(ctx: click.Context, /, file: str, **options: Any) -> None:
    """Answer an AdmissionReview v1: may this Workspace or ConfigMap pass?

    FILE is JSON or YAML; - reads standard input. Exits 0 when it may, 1 when it is refused. Without --partners a
    Workspace whose ConfigMap is not known is not refused for that. With --suite it exits 1 when an answer is not the
    expected one.
    """
    if options["suite"] is not None:
        ctx.exit(_run_suite(options["suite"], options))
    from kaitoc.compiler.admission.answer import answer, surroundings_of
    from kaitoc.compiler.admission.partners import FolderPartners, NoPartners
    from kaitoc.compiler.admission.policy import policy_of
    from kaitoc.compiler.admission.review import read_review, render_answer

    try:
        partners = FolderPartners(options["partners"]) if options["partners"] else NoPartners()
        policy = policy_of(policy_options(options), mutates=options["mutate"])
        request = read_review(_read(file))
        given = answer(request, policy, surroundings_of(request, partners))
    except UserError as error:
        click.echo(f"kaitoc: {error}", err=True)
        ctx.exit(EXIT_USAGE)
    click.echo(render_answer(request.uid, given))
    ctx.exit(0 if given.is_allowed else EXIT_REFUSED)


def _run_suite(folder: str, options: dict[str, Any]) -> int:
    """Print a line for each case of a suite; return 1 when one is answered otherwise than expected."""
    from kaitoc.compiler.admission.policy import policy_of
    from kaitoc.compiler.admission.suite import differences, read_suite

    num_failed = 0
    try:
        policy = policy_of(policy_options(options), mutates=options["mutate"])
        cases = read_suite(folder)
        for case in cases:
            told = list(differences(case, policy))
            num_failed += bool(told)
            click.echo(f"{'FAIL' if told else 'ok'}  {case.name}" + "".join(f"\n      {line}" for line in told))
    except UserError as error:
        click.echo(f"kaitoc: {error}", err=True)
        return EXIT_USAGE
    click.echo(f"{len(cases) - num_failed} of {len(cases)} reviews were answered as expected")
    return EXIT_REFUSED if num_failed else 0


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        with open(file, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise SourceError(f"{file}: cannot be read: {error.strerror or error}") from error
