"""Reading training data: every shape and format, and everything that can be wrong with it."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

from kaitoc.runtime.data.examples import Columns, Row, describe_skipped, read_rows
from kaitoc.runtime.data.messages import Message
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
        ("a.jsonl", "[1]\n", "a.jsonl:1: a row must be a mapping"),
        ("a.jsonl", '{"foo": 1}\n', "it has foo"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": "q"}]}\n', "nothing to learn"),
        ("a.jsonl", '{"messages": [{"role": "user"}]}\n', "needs a string as `content`"),
        ("a.jsonl", '{"text": 3}\n', "`text` must be a string"),
        ("a.json", '[{"text": "x"},\n{"text": ', "a.json:2: not JSON"),
        ("a.csv", "prompt,completion\nq\n", "a.csv:2: a row of other than 2 cells"),
        ("a.json", "[", "is the file cut off?"),
        ("a.json", '[{"text": "x"}] more', "a.json:1: not JSON (extra data after"),
        ("a.json", '[{"text": "x"}\n{"text": "y"}]', "a.json:2: not JSON (Expecting ',' delimiter"),
        ("a.jsonl", '{"text": "x"}\n{"text": "\\ud800"}\n', "a.jsonl:2: `text` has half of a character"),
        ("a.jsonl", '{"text": ""}\n', "a.jsonl:1: `text` must not be empty"),
        ("a.jsonl", json.dumps({"question": "q", "answer": " "}), "a.jsonl:1: `answer` must not be empty"),
        ("a.jsonl", json.dumps({"prompt": TURNS[:1], "completion": "a"}), "both strings or both lists of turns"),
        ("a.jsonl", json.dumps({"instruction": "i", "output": "o", "history": 5}), "`history` must be a list of pairs"),
        (
            "a.jsonl",
            json.dumps({"messages": TURNS, "tools": [{"function": "f"}]}),
            "`tools` must be a list of functions",
        ),
        ("a.json", json.dumps({"data": [{"text": "x"}]}, indent=1), "a.json:1: one object over several lines"),
        ("a.csv", 'text\nx\n"y\n', "a.csv:3: not CSV"),
        ("a.tsv", 'text\n"y\n', "a.tsv:2: not TSV"),
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


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "`image_url` cannot be"),
        ({"role": "user", "content": [{"type": "text"}]}, "a content part must be"),
        ({"role": "user", "content": 3}, "`content` of a turn must be a string"),
        ({"role": "user", "content": "\ud800"}, "`content` of a turn has half of a character"),
        ({"content": "a"}, "`role` of a turn must be a string, not NoneType"),
        ({"role": "assistant", "content": None}, "needs a string as `content`, or `tool_calls`"),
        ({"role": "assistant", "content": "a", "weight": 0.5}, "`weight` of a turn must be 0 (no loss) or 1, not 0.5"),
        ({"role": "user", "content": "a", "weight": 1}, "only turns of the assistant are learned"),
        ({"role": "assistant", "content": "a", "train": "no"}, "`train` of a turn must be false (no loss) or true"),
        ({"role": "user", "content": "a", "loss": True}, "`loss: true` on a turn of `user`: only turns"),
        ({"role": "assistant", "content": "a", "train_detail": []}, "`train_detail` cannot be trained"),
        ({"role": "assistant", "content": "a", "tool_calls": ["\ud800"]}, "half of a character"),
    ],
)  # fmt: skip
def test_a_turn_that_cannot_be_trained_is_named_by_file_and_line(
    tmp_path: Path, turn: dict[str, object], words: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": [*TURNS, turn]}))

    with pytest.raises(DataFailure, match=re.escape("a.jsonl:1: ") + ".*" + re.escape(words)):
        rows_of(path)


def test_images_beside_a_conversation_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": TURNS, "images": ["a.png"]}))

    with pytest.raises(DataFailure, match=r"a\.jsonl:1: `images` cannot be trained: the runtime trains text only"):
        rows_of(path)


def test_all_that_a_turn_holds_is_kept_for_the_template(tmp_path: Path) -> None:
    calls = [{"type": "function", "function": {"name": "f", "arguments": {}}}]
    turns = [*TURNS[:1], {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_content": "so"},
             {"role": "tool", "content": {"value": 1}}]  # fmt: skip
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": turns, "tools": json.dumps([{"name": "f"}])}))

    (row,) = rows_of(path, Columns(messages="messages"))

    assert [message.as_turn() for message in row.messages][1:] == [
        {"role": "assistant", "tool_calls": calls, "reasoning_content": "so"},
        {"role": "tool", "content": {"value": 1}},
    ]  # fmt: skip
    assert row.tools == ({"name": "f"},)


@pytest.mark.parametrize("flag", [{"weight": 0}, {"train": False}, {"training": False}, {"loss": False}])
def test_a_turn_is_context_alone_however_data_say_so(tmp_path: Path, flag: dict[str, object]) -> None:
    """OpenAI, axolotl and ms-swift have three names for it."""
    turns = [*TURNS, {**TURNS[1], **flag}]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": turns}))

    (row,) = rows_of(path)

    assert [message.has_loss for message in row.messages] == [True, True, False]
    assert [message.as_turn() for message in row.messages] == [*TURNS, TURNS[1]]


def test_a_system_prompt_beside_a_conversation_begins_it_unless_it_has_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    own = {"role": "system", "content": "own"}
    rows = [{"system": "s", "conversations": TURNS}, {"system": "s", "messages": [own, *TURNS]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    beside, within = rows_of(path)

    assert [message.content for message in beside.messages] == ["s", *(turn["content"] for turn in TURNS)]
    assert [message.content for message in within.messages] == ["own", *(turn["content"] for turn in TURNS)]


def test_a_conversation_without_any_weight_has_nothing_to_learn(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": [TURNS[0], {**TURNS[1], "weight": 0}]}))

    with pytest.raises(DataFailure, match="every turn of the assistant has `weight: 0`"):
        rows_of(path)


@pytest.mark.parametrize("beside", [{"input": ""}, {"input": "x"}, {"system": "s", "history": [["q0", "a0"]]}])
def test_instructions_are_read_as_a_conversation_and_as_a_prompt(tmp_path: Path, beside: dict[str, object]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"instruction": "q", "output": "a", **beside}))

    (row,) = rows_of(path)

    assert row.messages[-1] == Message("assistant", "a")
    assert row.messages[-2] == Message("user", "q\n\nx" if beside.get("input") else "q")
    assert row.num_prompt_messages == len(row.messages) - 1 == (4 if "history" in beside else 1)
    assert row.prompt.endswith("### Response:\n")
    assert ("### Input:\nx" in row.prompt) == bool(beside.get("input"))
    assert row.completion == "a"


def test_questions_and_answers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,answer\nq,a\n")

    (row,) = rows_of(path)

    assert row.messages == READ
    assert (row.prompt, row.completion) == ("q\n", "a")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl.gz", json.dumps({"prompt": "q", "completion": "a"})),
        ("a.json.gz", json.dumps([{"prompt": "q", "completion": "a"}])),
        ("a.csv.gz", "prompt,completion\nq,a\n"),
        ("a.tsv", "prompt\tcompletion\nq\ta\n"),
        ("a.TSV.GZ", "prompt\tcompletion\nq\ta\n"),
    ],
)
def test_tables_by_tabs_and_packed_files_are_read(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.lower().endswith(".gz") else content.encode())

    (row,) = rows_of(tmp_path)

    assert (row.prompt, row.completion) == ("q", "a")


@pytest.mark.parametrize("cut", [slice(0), slice(20, None), slice(-12)])
def test_a_packed_file_that_is_cut_off_is_named(tmp_path: Path, cut: slice) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"text": "x" * 99}).encode())[cut])

    with pytest.raises(DataFailure, match=r"a\.jsonl\.gz: (not a gzip file; is it cut off|there are no rows)"):
        rows_of(path)


def test_what_save_to_disk_wrote_is_read_by_its_own_list(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    splits = {name: Dataset.from_list([{"text": f"{name} {n}"} for n in range(3)]) for name in ("train", "test")}
    DatasetDict(splits).save_to_disk(str(tmp_path / "saved"), num_shards={"train": 2, "test": 1})
    (tmp_path / "saved" / "train" / "cache-1.arrow").write_bytes(b"a cache of datasets")

    found = read_rows((str(tmp_path / "saved"),), Columns())
    one = rows_of(tmp_path / "saved" / "test")

    assert [row.text for row in found.rows] == ["train 0", "train 1", "train 2"]
    assert [row.text for row in one] == ["test 0", "test 1", "test 2"]
    assert describe_skipped(found).endswith("not trained on: " + str(tmp_path / "saved" / "test"))


def test_splits_without_one_to_train_on_are_named(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    DatasetDict({name: Dataset.from_list([{"text": "x"}]) for name in ("a", "b")}).save_to_disk(str(tmp_path / "s"))

    with pytest.raises(DataFailure, match=r"it has no split `train`; name one of its folders, such as .*/s/a"):
        rows_of(tmp_path / "s")
