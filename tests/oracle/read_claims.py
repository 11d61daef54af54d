"""The blocks of the rule pages that no run shows: each claim with the source it was read in (`read_claims.jsonl`).

    python tests/oracle/read_claims.py

adds a line for each block that is neither run nor listed, and drops those of blocks that changed; whoever runs it reads
the sources of the added lines before they are kept. `says` is the finding that the block is about, for the reader.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from page_blocks import RELEASE, Block, all_blocks, runnable
from page_examples import findings_of
from record import read_recording

from kaitoc.compiler.check.rule_pages import page_text
from kaitoc.rules import RULES

_Json = dict[str, Any]
PATH = Path(__file__).with_name("read_claims.jsonl")
RECORDED_ELSEWHERE = {
    "KT102": "tests/oracle/kubectl/documents.jsonl",
    "KT105": "tests/oracle/api_server/verdicts.jsonl",
    "KT106": "tests/oracle/api_server/verdicts.jsonl",
    "KT110": "tests/oracle/api_server/verdicts.jsonl",
    "KT315": "tests/oracle/webhook/urls.jsonl",
    "KT316": "tests/oracle/webhook/image_references.jsonl",
    "KT476": "tests/rules/test_downloaded_names.py",
}
"""Rules whose claims are recorded by other means than a job: by the API server, kubectl, the webhook, the shell."""


def block_name(block: Block) -> str:
    """Return the name of a block: its page's code and its number there."""
    return f"{block.code}.{block.number}"


def digest(block: Block) -> str:
    """Return a short hash of what a block says, so that a changed block is read again."""
    options = " ".join(f"{name}={value}" for name, value in sorted(block.example.options.items()))
    return hashlib.sha256(f"{options}\n{block.example.text}".encode()).hexdigest()[:12]


def is_run(block: Block) -> bool:
    """Return whether a record of Kaito's runtime shows what becomes of a block."""
    return runnable(block) and block.record_id in _records()


def read_claims() -> dict[str, _Json]:
    """Return the listed claims by the names of their blocks."""
    lines = PATH.read_text(encoding="utf-8").splitlines() if PATH.exists() else []
    return {row["block"]: row for row in map(json.loads, lines)}


@cache
def _records() -> frozenset[str]:
    return frozenset(record["id"] for record in read_recording("pages", RELEASE))


def _source(block: Block) -> str:
    """Return where a block's claim was read: a recording, the bundled runtime, or the page's own first reference."""
    if block.code in RECORDED_ELSEWHERE:
        return RECORDED_ELSEWHERE[block.code]
    if block.example.options.get("target") == "bundled":
        return "runtime/ (kaitoc's own)"
    page = page_text(next(rule for rule in RULES if block.code == rule.CODE))
    references = re.findall(r"^- (\S.*(?:\n  .*)*)", page.partition("## References")[2], re.MULTILINE)
    return " ".join(references[0].split())


def _says(block: Block) -> str:
    _, findings = findings_of(block.example)
    messages = [finding.message for finding in findings if finding.code == block.code]
    return messages[0] if messages else f"no {block.code}"


def main() -> None:
    """Bring the list up to date with the pages."""
    known, rows = read_claims(), []
    for block in all_blocks():
        if is_run(block):
            continue
        row = known.get(block_name(block))
        if row is None or (row["digest"], row["claim"]) != (digest(block), block.claim):
            row = {"block": block_name(block), "claim": block.claim, "digest": digest(block), "says": _says(block),
                   "source": _source(block)}  # fmt: skip
        rows.append(row)
    PATH.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
