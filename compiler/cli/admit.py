"""`kaitoc admit`: answer an AdmissionReview."""

from __future__ import annotations

import click

from kaitoc.compiler.cli.admission_options import AdmissionOptions, admission_options
from kaitoc.compiler.cli.completion import complete_path
from kaitoc.compiler.cli.console import say
from kaitoc.compiler.cli.options import takes
from kaitoc.compiler.cli.standard_input import read_standard_input
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import SourceError

EXIT_REFUSED = 1


@dataclass(frozen=True, slots=True)
class AdmitOptions:
    """The command line of `kaitoc admit`."""

    file: str
    admission: AdmissionOptions
    mutate: bool
    partners: tuple[str, ...]
    suite: str | None


@click.command()
@click.argument("file", default="-", metavar="[FILE|-]", shell_complete=complete_path)
@admission_options
@click.option("--mutate", is_flag=True, help="Answer like /mutate: a patch with the safe fixes, never a denial.")
@click.option(
    "--partners",
    multiple=True,
    metavar="PATH",
    shell_complete=complete_path,
    help="File or folder with the cluster's other objects; repeatable.",
)
@click.option(
    "--suite",
    metavar="DIR",
    shell_complete=complete_path,
    help="Answer every review.yaml below DIR and compare with its expected.yaml.",
)
@takes(AdmitOptions, admission=AdmissionOptions)
def admit(options: AdmitOptions) -> int:
    """Answer an AdmissionReview v1: may this Workspace or ConfigMap pass?

    FILE is JSON or YAML; - reads standard input. Exits 0 when it may, 1 when it is refused. Without --partners a
    Workspace whose ConfigMap is not known is not refused for that. With --suite it exits 1 when an answer is not the
    expected one.
    """
    if options.suite is not None:
        return _run_suite(options.suite, options)
    from kaitoc.admitting import judge, partners_in
    from kaitoc.compiler.admission.policy import policy_of  # `--help` needs none of it
    from kaitoc.compiler.admission.review import render_answer

    partners = partners_in(options.partners)
    policy = policy_of(options.admission.policy, mutates=options.mutate)
    judged = judge(_read(options.file), policy, partners)
    click.echo(render_answer(judged.request.uid, judged.answer))
    return 0 if judged.answer.is_allowed else EXIT_REFUSED


def _run_suite(folder: str, options: AdmitOptions) -> int:
    """Print a line for each case of a suite; return 1 when one is answered otherwise than expected."""
    from kaitoc.compiler.admission.policy import policy_of  # as above
    from kaitoc.compiler.admission.suite import differences, read_suite

    num_failed = 0
    policy = policy_of(options.admission.policy, mutates=options.mutate)
    cases = read_suite(folder)
    for case in cases:
        lines = list(differences(case, policy))
        num_failed += bool(lines)
        say(f"{'FAIL' if lines else 'ok'}  {case.name}" + "".join(f"\n      {line}" for line in lines))
    say(f"{len(cases) - num_failed} of {len(cases)} reviews were answered as expected")
    return EXIT_REFUSED if num_failed else 0


def _read(file: str) -> bytes:
    if file == "-":
        return read_standard_input("an AdmissionReview")
    try:
        with open(file, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise SourceError(f"{file}: cannot be read: {error.strerror or error}", path=file) from error
