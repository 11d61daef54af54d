"""How long rows are, without a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaitoc.compiler.memory.data_lengths import BYTES_PER_TOKEN, DataLengthError, row_tokens

LONG = "x" * 300
ROWS = [{"prompt": "a", "completion": "b"}, {"prompt": LONG, "completion": LONG}]
MESSAGES = [{"messages": [{"role": "", "content": LONG}, {"role": "", "content": LONG}]}]
EXPECTED_TOKENS = 2 * len(LONG) // BYTES_PER_TOKEN


def _written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("rows", [ROWS, MESSAGES], ids=["prompt and completion", "messages"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_one_row_a_line_is_measured_by_its_text_under_either_name(
    tmp_path: Path, name: str, rows: list[object]
) -> None:
    path = _written(tmp_path / name, "\n".join(json.dumps(row) for row in rows) + "\n")
    assert max(row_tokens(path)) == EXPECTED_TOKENS


def test_a_list_of_rows_is_measured(tmp_path: Path) -> None:
    assert max(row_tokens(_written(tmp_path / "rows.json", json.dumps(ROWS)))) == EXPECTED_TOKENS


def test_a_csv_row_may_span_lines_and_its_header_does_not_count(tmp_path: Path) -> None:
    text = f'{"prompt" * 500},completion\nshort,row\n"{LONG[1:]}\n",{LONG}\n'
    assert max(row_tokens(_written(tmp_path / "rows.csv", text))) == EXPECTED_TOKENS


def test_the_longest_file_of_a_folder_decides(tmp_path: Path) -> None:
    _written(tmp_path / "a.txt", "short\n")
    _written(tmp_path / "b.jsonl", json.dumps(ROWS[1]))
    _written(tmp_path / "README.md", LONG * 9)
    assert max(row_tokens(str(tmp_path))) == EXPECTED_TOKENS


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow"])
def test_a_table_is_measured_where_the_runtime_is_installed(tmp_path: Path, name: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import ipc, parquet

    table, path = pyarrow.Table.from_pylist(ROWS), str(tmp_path / name)
    if name.endswith(".parquet"):
        parquet.write_table(table, path)
    else:
        with ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    assert max(row_tokens(path)) == EXPECTED_TOKENS


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.json", "{", "cannot be read"),
        ("rows.parquet", "no table", "cannot be read"),
        ("rows.csv", "", "no rows with text$"),
        ("rows.jsonl", '{"text": 5}', "no rows with text$"),
        ("rows.jsonl", '{"text": "whole"}\n\n{"text": "cut', "line 3 is not a JSON object"),
        ("rows.jsonl", '"text"', "line 1 is not a JSON object"),
        ("rows.bin", "x", "only .jsonl"),
    ],
)
def test_what_cannot_be_measured_is_said(tmp_path: Path, name: str, content: str, words: str) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(DataLengthError, match=words):
        max(row_tokens(_written(tmp_path / name, content)))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataLengthError, match="No such file"):
        max(row_tokens(str(tmp_path / "missing.jsonl")))
