"""`kaitoc lsp`: the language server, for editors."""

from __future__ import annotations

from typing import Any

import click

from kaitoc.compiler.cli.options import assumption_options, overrides

EXIT_USAGE = 2


@click.command()
@assumption_options
@click.option("--select", multiple=True, metavar="C", help="Run only these rules (code, start of a code, or name).")
@click.option("--ignore", multiple=True, metavar="C", help="Leave these rules out.")
@click.option("--isolated", is_flag=True, help="Ignore settings files.")
@click.option("--stdio", is_flag=True, help="Talk over standard input and output, which is the only way there is.")
@click.pass_context
def lsp(ctx: click.Context, /, **options: Any) -> None:
    """Serve findings, fixes, hovers and completion to an editor (Language Server Protocol 3.17, over stdio)."""
    from importlib.util import find_spec

    if find_spec("pygls") is None:
        click.echo('kaitoc: the language server needs `pip install "kaitoc[lsp]"`', err=True)
        ctx.exit(EXIT_USAGE)
    from kaitoc.compiler.check.engine_options import selectors_in
    from kaitoc.compiler.language_server.documents import Checker
    from kaitoc.compiler.language_server.server import make_server

    select, ignore = selectors_in(options["select"]), selectors_in(options["ignore"])
    make_server(Checker(overrides(options), select, ignore, options["isolated"])).start_io()
