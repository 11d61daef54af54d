"""`kaitoc lsp`: the language server, for editors."""

from __future__ import annotations

from importlib.util import find_spec

import click

from kaitoc.compiler.cli import Answered
from kaitoc.compiler.cli.console import EXIT_USAGE, complain
from kaitoc.compiler.cli.option_records import JudgingOptions
from kaitoc.compiler.cli.options import judging_options, takes
from kaitoc.compiler.core.records import dataclass


@dataclass(frozen=True, slots=True)
class LspOptions:
    """The command line of `kaitoc lsp`."""

    judging: JudgingOptions
    stdio: bool


@click.command()
@judging_options
@click.option("--stdio", is_flag=True, help="Use standard input and output, the only transport.")
@takes(LspOptions)
def lsp(options: LspOptions) -> int:
    """Serve findings, fixes, hovers and completion to an editor (Language Server Protocol 3.17, over stdio)."""
    if find_spec("pygls") is None:
        complain('the language server needs `pip install "kaitoc[lsp]"`')
        return EXIT_USAGE
    from kaitoc.compiler.check.engine_options import engine_of  # the editor asks for more than `--help` needs

    engine_of(options.judging.engine).assumptions_for(".")  # raises for wrong options now, not at the first check
    from kaitoc.compiler.language_server.documents import Checker  # pygls is optional
    from kaitoc.compiler.language_server.server import make_server

    code: str | int | None = 0
    try:
        make_server(Checker(options.judging.engine)).start_io()
    except SystemExit as left:  # how pygls leaves its loop
        code = left.code
    raise Answered(int(code or 0))  # a check of what was open may still run: nobody waits for its findings
