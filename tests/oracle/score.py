"""Scores kaitoc against recorded verdicts in files that are named on the command line; exits 1 where one differs.

    python tests/oracle/score.py objects FILE.jsonl [--beside PREFIX=FILE.yaml ...]
    python tests/oracle/score.py urls FILE.jsonl
    python tests/oracle/score.py images FILE.jsonl

A row of objects has `name`, `text` and `refused`; the object is checked with the file of its prefix after it, and
each refused one must have an error at its lines, and no accepted one an error that names the API server or kubectl. A
row of the others has `text` and `refused`, which is null for what is taken.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from kaitoc.compiler.cli import cli
from kaitoc.compiler.kaito.data_url import url_refusal
from kaitoc.compiler.kaito.image_reference import image_refusal

_CLAIM = re.compile(r"API server|kubectl", re.IGNORECASE)


def errors_of(text: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "objects.yaml"
        path.write_text(text, encoding="utf-8")
        result = CliRunner().invoke(cli, ["check", "--isolated", "--format", "json", str(path)])
    return [finding for finding in json.loads(result.stdout)["findings"] if finding["severity"] == "error"]


def object_fault(row: dict[str, Any], partners: dict[str, str]) -> str:
    text = row["text"].rstrip("\n")
    partner = next((content for prefix, content in partners.items() if row["name"].startswith(prefix)), "")
    errors = errors_of(f"{text}\n---\n{partner}")
    if row["refused"]:
        num_lines = text.count("\n") + 1
        return (
            ""
            if any(error["span"]["start"]["line"] <= num_lines for error in errors)
            else f"missed: {row.get('says', '')[:150]}"
        )
    claims = [f"{error['code']} {error['message']}" for error in errors if _CLAIM.search(error["message"])]
    return f"false: {claims}" if claims else ""


def main(kind: str, path: str, *options: str) -> int:
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    partners = dict(option.split("=", 1) for option in options if option != "--beside")
    contents = {prefix: Path(file).read_text(encoding="utf-8") for prefix, file in partners.items()}
    num_wrong = 0
    for row in rows:
        if kind == "objects":
            fault = object_fault(row, contents)
        else:
            refusal = (url_refusal if kind == "urls" else image_refusal)(row["text"])
            fault = "" if (refusal is None) == (row["refused"] is None) else f"{refusal} instead of {row['refused']}"
        if fault:
            num_wrong += 1
            print(f"{row.get('name', row['text'])}: {fault}")
    print(f"{len(rows)} rows, {num_wrong} wrong")
    return 1 if num_wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
