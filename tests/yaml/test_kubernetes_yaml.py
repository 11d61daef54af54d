"""YAML is read as kubectl reads it: held to the recording in `tests/oracle/kubectl`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.yaml.kubernetes import json_content, scalar_of_text
from kaitoc.compiler.yaml.parser import parse_documents

ORACLE = Path(__file__).resolve().parents[1] / "oracle" / "kubectl" / "documents.jsonl"
ROWS = [json.loads(line) for line in ORACLE.read_text(encoding="utf-8").splitlines()]


def integer(digits: str) -> int | float:
    """Read a whole number as the API server does, which keeps 64 bits of one."""
    return int(digits) if -(2**63) <= int(digits) < 2**63 else float(digits)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["text"])
def test_a_document_becomes_the_json_that_kubectl_makes_of_it(row: dict[str, str]) -> None:
    (document,) = parse_documents(Source("x.yaml", row["text"]))
    content = json_content(document.root) if document.root is not None else None

    if row["error"]:
        assert content is None or content.problem is not None
    else:
        assert content is not None
        assert content.value == json.loads(row["json"], parse_int=integer)
        assert json.dumps(content.value).count('"') == row["json"].count('"')  # 1 is not true, and no number a text


@given(st.text(max_size=12))
def test_any_text_is_read_as_something(text: str) -> None:
    value = scalar_of_text(text)

    assert value is None or isinstance(value, (bool, int, float)) or value == text
