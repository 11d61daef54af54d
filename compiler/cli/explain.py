"""`kaitoc explain`: show a rule's page."""

from __future__ import annotations

import click

from kaitoc.compiler.cli.completion import complete_rule
from kaitoc.compiler.cli.console import complain, terminal_columns


@click.command()
@click.argument("code", shell_complete=complete_rule)
@click.pass_context
def explain(ctx: click.Context, code: str) -> None:
    """Show the page of the rule with this code or name."""
    from kaitoc.compiler.check.rule_pages import find_rule, page_text

    rule = find_rule(code)
    if rule is None:
        from difflib import get_close_matches

        from kaitoc.rules import RULES

        several = [rule.CODE for rule in RULES if rule.CODE.startswith(code.upper())]
        if several:
            complain(f"`{code}` stands for {len(several)} rules; name one, such as `{several[0]}`")
            ctx.exit(2)
        names = [rule.NAME for rule in RULES] + [rule.CODE for rule in RULES]
        close = get_close_matches(code, names, n=1) or get_close_matches(code.upper(), names, n=1)
        hint = f"; did you mean `{close[0]}`?" if close else ""
        complain(f"there is no rule `{code}`{hint} (`kaitoc rules` lists them)")
        ctx.exit(2)
    from kaitoc.compiler.report.rule_page import readable_page

    click.echo(readable_page(page_text(rule), terminal_columns()))
