"""`kaitoc rules`: list the rules."""

from __future__ import annotations

import click

from kaitoc.compiler.cli.console import terminal_columns
from kaitoc.compiler.cli.options import format_option


@click.command()
@format_option
def rules(format_name: str) -> None:
    """List the rules with their codes, names, severities and fixes."""
    from kaitoc.compiler.check.rule_pages import summary
    from kaitoc.rules import RULES

    if format_name == "json":
        import json

        from kaitoc.compiler.check.rule_info import rule_url

        listed = [
            {
                "code": rule.CODE,
                "name": rule.NAME,
                "severity": rule.SEVERITY.value,
                "fix": rule.FIX.value if rule.FIX is not None else None,
                "since": rule.SINCE,
                "summary": summary(rule),
                "url": rule_url(rule.CODE),
            }
            for rule in RULES
        ]
        click.echo(json.dumps(listed, indent=2))
        return
    from kaitoc.compiler.report.listing import listing

    headings = ("CODE", "NAME", "SEVERITY", "FIX", "FINDS")
    rows = [
        (rule.CODE, rule.NAME, rule.SEVERITY.value, rule.FIX.value if rule.FIX is not None else "", summary(rule))
        for rule in RULES
    ]
    click.echo(listing(headings, rows, terminal_columns()))
