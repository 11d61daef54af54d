"""Each block of each rule page is a claim about the world: it was run with Kaito's own files, or read in a source."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from artefacts import artefact_of_stop
from page_blocks import RELEASE, Block, all_blocks, completed, runnable
from read_claims import digest, read_claims
from record import read_recording

from kaitoc.compiler.check.rule_pages import page_text
from kaitoc.rules import RULES

NOTES = json.loads(Path(__file__).with_name("page_notes.json").read_text(encoding="utf-8"))
BLOCKS = {f"{block.code}.{block.number}": block for block in all_blocks()}
REFUSED_AT_ADMISSION = ("KT1", "KT3", "KT201")
"""Rules of what the webhook refuses: the job that a run shows never begins."""
_Json = dict[str, Any]


@cache
def records() -> dict[str, _Json]:
    return {record["id"]: record for record in read_recording("pages", RELEASE)}


def record_of(block: Block) -> _Json | None:
    return records().get(block.record_id) if runnable(block) else None


def what_happened(record: _Json) -> str:
    if record["verdict"] != "stopped":
        return str(record["verdict"])
    artefact = artefact_of_stop({**record, "id": f"{record['id']} qlora optim paged_ lion_ use_cpu"})
    return f"artefact: {artefact}" if artefact else f"stopped at {record['stage']}: {record.get('message', '')}"


def is_told_by_another_rule(block: Block) -> bool:
    """Return whether the block has an error beside the one its page is about."""
    from judging import Judge

    return bool(Judge(RELEASE).errors({"config": completed(block)}))


@pytest.mark.parametrize("name", [name for name, block in BLOCKS.items() if record_of(block)])
def test_what_a_page_says_of_a_block_is_what_happens(name: str) -> None:
    block = BLOCKS[name]
    happened = what_happened(record_of(block) or {})
    kinds = {name for name, kind in NOTES.items() if isinstance(kind, dict) and block.code in kind}
    says_it_fails = block.claim == "error"

    if (
        happened.startswith("artefact")
        or "tiny_model" in kinds
        or (says_it_fails and (kinds or block.code.startswith(REFUSED_AT_ADMISSION)))
    ):
        return
    if says_it_fails:
        assert happened != "trained", f"{name} claims an error, and the job {happened}"
    elif happened != "trained":
        assert is_told_by_another_rule(block), f"{name} claims {block.claim}, and the job {happened}"


def test_at_least_a_hundred_pages_are_run() -> None:
    run = {block.code for block in BLOCKS.values() if record_of(block)}

    assert len(run) >= 100


def test_nearly_every_block_that_can_be_run_is() -> None:
    can_be_run = [name for name, block in BLOCKS.items() if runnable(block)]
    unrecorded = [name for name in can_be_run if record_of(BLOCKS[name]) is None]

    assert len(unrecorded) <= len(can_be_run) / 20, f"record the pages again (README.md): {unrecorded}"


def was_read(name: str) -> bool:
    """Return whether a block is listed with a source as what it says today."""
    block, listed = BLOCKS[name], read_claims().get(name)
    return listed is not None and (listed["claim"], listed["digest"]) == (block.claim, digest(block))


def test_what_is_not_run_was_read_in_a_source() -> None:
    """A few blocks may be newer than the list: `read_claims.py` brings it up to date."""
    unread = [
        f"{name} claims {block.claim}" for name, block in BLOCKS.items() if not (record_of(block) or was_read(name))
    ]

    assert len(unread) <= len(BLOCKS) / 20, f"neither run nor read (read_claims.py): {unread}"


@pytest.mark.parametrize("name", read_claims())
def test_what_was_read_names_its_source(name: str) -> None:
    source = read_claims()[name]["source"]

    assert source
    assert not source.startswith("tests/") or (Path(__file__).parents[2] / source).exists()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.CODE)
def test_every_page_names_its_sources(rule: Any) -> None:
    sources = re.findall(r"^- \S.*$", page_text(rule).partition("## References")[2], re.MULTILINE)

    assert sources, f"{rule.CODE} has no reference"
