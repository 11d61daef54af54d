"""What admission answers besides its verdict: patches, texts, and the command that reads a review."""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from admitting import MISSPELT, NO_COLLATOR, judged, objects, values
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from reviews import TRAINING_CONFIG, config_map, review, workspace

from kaitoc.compiler.admission.objects import content_of, source_of
from kaitoc.compiler.admission.patch import patch_between
from kaitoc.compiler.admission.review import MAX_WARNING_CHARS, Answer, ReviewError, read_review, render_answer
from kaitoc.compiler.cli import cli


def patched(content: Any, operations: tuple[dict[str, Any], ...]) -> Any:
    """Apply a JSON Patch of `add`, `remove` and `replace` as RFC 6902 has it."""
    content = copy.deepcopy(content)
    for operation in operations:
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        parent = content
        for part in path:
            parent = parent[int(part) if isinstance(parent, list) else part]
        key: Any = int(last) if isinstance(parent, list) else last
        if operation["op"] == "remove":
            del parent[key]
        else:
            parent[key] = operation["value"]
    return content


def test_mutation_applies_the_safe_fixes_and_keeps_comments() -> None:
    assert not judged(review(config_map(NO_COLLATOR))).is_allowed
    given = judged(review(config_map(NO_COLLATOR)), mutates=True)
    assert given.is_allowed
    (operation,) = given.patch
    assert operation["path"] == "/data/training_config.yaml"
    assert "  DataCollator:\n    mlm: false\n" in operation["value"]
    assert "# fused on Phi-3" in operation["value"]


def test_what_mutation_changed_is_told_as_a_warning() -> None:
    given = judged(review(config_map(NO_COLLATOR)), mutates=True)

    assert [warning.partition(":")[0] for warning in given.warnings] == ["kaitoc changed this object"]
    assert "DataCollator" in given.warnings[0]


def test_mutation_leaves_what_it_cannot_mend_to_validation() -> None:
    given = judged(review(config_map(MISSPELT.replace("torch_dtpe", "nothing_like_it"))), mutates=True)

    assert (given.is_allowed, given.patch, given.warnings) == (True, (), ())


def test_mutation_of_a_clean_object_changes_nothing() -> None:
    assert judged(review(config_map()), mutates=True).patch == ()


def test_a_patched_object_is_clean() -> None:
    given = judged(review(config_map(NO_COLLATOR)), mutates=True)
    assert judged(review(patched(config_map(NO_COLLATOR), given.patch))).codes == ()


@given(objects)
def test_an_object_reads_back_from_its_text(content: dict[str, Any]) -> None:
    assert content_of(source_of("x", content)) == content


@given(objects, objects)
def test_a_patch_turns_one_object_into_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert patched(old, tuple(patch_between(old, new))) == new


def test_a_patch_has_one_order_in_every_process() -> None:
    script = (
        "from kaitoc.compiler.admission.patch import patch_between\n"
        "old, new = dict.fromkeys('zyxwvutsrq', 1), dict.fromkeys('abcqdef', 2)\n"
        "print(*(f'{one[\"op\"]} {one[\"path\"]}' for one in patch_between(old, new)), sep='\\n')\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed},
                       capture_output=True, text=True, check=True).stdout.split("\n")
        for seed in ("0", "1", "2", "3")
    ]  # fmt: skip

    removed, added = [f"remove /{name}" for name in "zyxwvutsr"], [f"add /{name}" for name in "def"]
    assert runs == [[*removed, "add /a", "add /b", "add /c", "replace /q", *added, ""]] * 4


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_review_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(ReviewError):
        read_review(data)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b"\xff", b"", b'"\\ud800"'])
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ReviewError):
        read_review(data)


@given(objects)
def test_any_object_gets_an_answer(content: dict[str, Any]) -> None:
    data = json.loads(review(workspace()))
    data["request"]["object"] = {**workspace(), **content}
    assert judged(json.dumps(data).encode()).status_code == 403


def test_warnings_are_cut_to_what_the_api_server_shows() -> None:
    rendered = json.loads(render_answer("u", Answer(is_allowed=True, warnings=("x" * 500,) * 40)))
    warnings = rendered["response"]["warnings"]
    assert {len(warning) for warning in warnings} == {MAX_WARNING_CHARS}
    assert len(warnings) == 16


def test_no_text_of_an_answer_steers_the_terminal_it_ends_up_in() -> None:
    key = TRAINING_CONFIG.replace("    r: 8\n", '    r: 8\n    "a\\e[31m\\nb\\u202e": 1\n')
    refused = json.loads(render_answer("u", judged(review(config_map(key)))))["response"]["status"]["message"]
    assert "KT202" in refused
    warned = json.loads(render_answer("u", Answer(is_allowed=True, warnings=("a\x1b[31m\nb",))))["response"]["warnings"]
    assert all(text.isprintable() for text in (refused, *warned))


def admit(*arguments: str, text: bytes) -> Any:
    return CliRunner().invoke(cli, ["admit", "--isolated", *arguments], input=text)


def test_the_command_answers_and_exits_by_the_verdict() -> None:
    refused = admit(text=review(config_map(MISSPELT)))
    response = json.loads(refused.stdout)["response"]
    assert (refused.exit_code, response["allowed"], response["status"]["code"]) == (1, False, 403)
    assert response["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002"

    mutated = admit("--mutate", text=review(config_map(NO_COLLATOR)))
    patch = json.loads(base64.b64decode(json.loads(mutated.stdout)["response"]["patch"]))
    assert (mutated.exit_code, patch[0]["op"]) == (0, "replace")


def test_the_command_reads_yaml(tmp_path: Path) -> None:
    file = tmp_path / "review.yaml"
    file.write_text(yaml.safe_dump(json.loads(review(config_map()))))
    assert admit(str(file), text=b"").exit_code == 0


@pytest.mark.parametrize("arguments", [("nowhere.json",), ("--partners", "nowhere"), ("--kaito-version", "v9"), ()])
def test_the_command_names_bad_input(arguments: tuple[str, ...]) -> None:
    result = admit(*arguments, text=b"{}")
    assert result.exit_code == 2
    assert result.stderr.startswith("kaitoc: ")
    assert "Traceback" not in result.stderr
