"""Reading training data: every shape and format, and everything that can be wrong with it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

from kaitoc.runtime.data.examples import Columns, Message, Row, read_rows
from kaitoc.runtime.failures import DataFailure

pytestmark = pytest.mark.runtime
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHARE_GPT = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
SHARED = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
READ = (Message("user", "q"), Message("assistant", "a"))


def rows_of(path: Path, columns: Columns | None = None, *, skip_bad_rows: bool = False) -> tuple[Row, ...]:
    return read_rows((str(path),), columns or Columns(), skip_bad_rows=skip_bad_rows).rows


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", json.dumps({"messages": TURNS}) + "\n\n", READ),
        ("a.json", json.dumps([{"messages": TURNS}]), READ),
        ("a.json", json.dumps([{"conversations": SHARE_GPT}]), READ),
        ("a.jsonl", json.dumps({"prompt": TURNS[:1], "completion": TURNS[1:]}), READ),
        ("a.csv", '"messages"\n"' + json.dumps(TURNS).replace('"', '""') + '"\n', READ),
    ],
)  # fmt: skip
def test_a_conversation_is_read_from_every_shape(
    tmp_path: Path, name: str, content: str, expected: tuple[Message, ...]
) -> None:
    path = tmp_path / name
    path.write_text(content)

    (row,) = rows_of(path)

    assert row.messages == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", json.dumps({"prompt": "q", "completion": "a"})), ("a.csv", "prompt,completion\nq,a\n")],
)
def test_a_prompt_and_its_completion_are_read(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)

    (row,) = rows_of(path)

    assert (row.prompt, row.completion) == ("q", "a")


def test_parquet_and_arrow_are_read(tmp_path: Path) -> None:
    from datasets import Dataset

    dataset = Dataset.from_list([{"messages": TURNS}])
    dataset.to_parquet(str(tmp_path / "a.parquet"))

    assert rows_of(tmp_path / "a.parquet")[0].messages == READ


def test_plain_text_is_read_by_paragraph(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\nline\n\n\ntwo\n")

    assert [row.text for row in rows_of(tmp_path / "a.txt")] == ["one\nline", "two"]


def test_every_file_of_a_folder_is_used(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jsonl").write_text(json.dumps({"text": str(number)}))

    assert [row.text for row in rows_of(tmp_path)] == ["0", "1", "2"]


def test_files_that_a_mounted_config_map_has_twice_are_used_once(tmp_path: Path) -> None:
    """A volume of a ConfigMap holds links into a folder that begins with two dots."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "a.jsonl").write_text(json.dumps({"text": "x"}))
    (tmp_path / "a.jsonl").symlink_to("..2026/a.jsonl")

    assert [row.text for row in rows_of(tmp_path)] == ["x"]


def test_named_columns_are_used(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "q", "answer": "a", "prompt": "other", "completion": "other"}))

    (row,) = rows_of(path, Columns(prompt="question", completion="answer"))

    assert (row.prompt, row.completion) == ("q", "a")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", "", "there are no rows"),
        ("a.jsonl", '{"text": "x"}\n{"text": ', "a.jsonl:2: not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1: a row is a mapping"),
        ("a.jsonl", '{"foo": 1}\n', "it has foo"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": "q"}]}\n', "nothing to learn"),
        ("a.jsonl", '{"messages": [{"role": "user"}]}\n', "needs a text"),
        ("a.jsonl", '{"text": 3}\n', "`text` is not a text"),
        ("a.json", '[{"text": "x"},\n{"text": ', "a.json:2: not JSON"),
        ("a.csv", "prompt,completion\nq\n", "a.csv:2: a row of other than 2 cells"),
        ("a.json", "[", "is the file cut off?"),
        ("a.json", '[{"text": "x"}] more', "a.json:1: not JSON (there is more behind"),
        ("a.json", '[{"text": "x"}\n{"text": "y"}]', "a.json:2: not JSON (Expecting ',' delimiter"),
        ("a.jsonl", '{"text": "x"}\n{"text": "\\ud800"}\n', "a.jsonl:2: `text` is not a text"),
        ("a.jsonl", '{"text": "x"}\n{"text": "\udcff"}\n', "a.jsonl:2: not UTF-8 text"),
        ("a.csv", "text\nx\n\udcff\n", "a.csv:3: not UTF-8 text"),
        ("a.txt", "x\n\n\n\udcff\n", "a.txt:4: not UTF-8 text"),
        ("a.parquet", "PAR1", "not a parquet file"),
        ("a.bin", "x", "data files end in"),
    ],
)
def test_bad_data_is_named_by_file_and_line(tmp_path: Path, name: str, content: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(content, errors="surrogateescape")

    with pytest.raises(DataFailure, match=re.escape(words)):
        rows_of(path)


def test_bad_rows_can_be_skipped_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "x"}\n{"foo": 1}\n{"text": "\xff"}\n')

    found = read_rows((str(path),), Columns(), skip_bad_rows=True)

    assert len(found.rows) == 1
    assert "a.jsonl:2" in found.skipped[0]
    assert "a.jsonl:3: not UTF-8" in found.skipped[1]


def test_a_missing_path_says_how_to_name_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataFailure, match="--data"):
        rows_of(tmp_path / "none")
