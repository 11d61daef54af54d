"""`kaitoc schema`: print a JSON Schema, or list them."""

from __future__ import annotations

import click

from kaitoc.compiler.cli.console import EXIT_USAGE, complain
from kaitoc.compiler.cli.option_types import Choice


@click.command()
@click.argument("name", required=False)
@click.option(
    "--format",
    "-f",
    "format_name",
    type=Choice(["text", "json"]),
    help="Format of the list of names (default: text); a schema itself is always JSON.",
)
def schema(name: str | None, format_name: str | None) -> None:  # fmt: skip
    """Print the JSON Schema of this NAME, or list the names without one.

    `training_config` alone means the newest Kaito release. To have an editor check a file, write the schema next to it
    (`kaitoc schema training_config > schema.json`) and begin the file with
    `# yaml-language-server: $schema=schema.json`.
    """
    import json

    from kaitoc.schemas import load_schema, schema_names

    if name is not None:
        if format_name == "text":
            complain("a schema has no text form; remove NAME or --format text")
            click.get_current_context().exit(EXIT_USAGE)
        click.echo(json.dumps(load_schema(_resolved(name)), indent=2, ensure_ascii=False))
        return
    titles = {listed: str(load_schema(listed).get("title", "")) for listed in schema_names()}
    if format_name == "json":
        click.echo(json.dumps([{"name": listed, "title": title} for listed, title in titles.items()], indent=2))
        return
    width = max(map(len, titles))
    for listed, title in titles.items():
        click.echo(f"{listed:<{width}}  {title}".rstrip())


def _resolved(name: str) -> str:
    """Return the full name of a schema; a folder's name alone means its newest schema; exits where there is none."""
    from kaitoc.compiler.catalog.releases import newest_release
    from kaitoc.schemas import schema_names

    wanted = name.removesuffix(".json").strip("/")
    newest = newest_release().name
    for candidate in (wanted, f"{wanted}/{newest}", f"training_config/{wanted}", f"{wanted}/v1beta1"):
        if candidate in schema_names():
            return candidate
    from difflib import get_close_matches

    close = get_close_matches(wanted, schema_names(), n=1, cutoff=0.4)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    complain(f"there is no schema `{name}`{hint} (`kaitoc schema` lists them)")
    return click.get_current_context().exit(EXIT_USAGE)
