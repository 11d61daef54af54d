from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from lsp_editor import Editor, at
from lsp_manifests import BOTH, CONFIG_MAP, WORKSPACE

from kaitoc.compiler.catalog.releases import newest_release
from kaitoc.compiler.check.engine_options import EngineOptions
from kaitoc.compiler.language_server.documents import Checker
from kaitoc.compiler.language_server.warm_up import warm_up
from kaitoc.schemas import load_schema

WARMED = """
import sys
from lsprotocol import types
from kaitoc.compiler.check.engine_options import EngineOptions
from kaitoc.compiler.language_server.documents import Checker, read_document
from kaitoc.compiler.language_server.hover import hover_at
from kaitoc.compiler.language_server.warm_up import warm_up

text = {text!r}
checker = Checker(EngineOptions(isolated=True))
warm_up(checker)
loaded = set(sys.modules)
document = read_document("untitled:other", 0, text, "utf-16")
engine = checker.engine((document,), names_sought=("tuning",))
shown = hover_at(engine, document, (document,), text.index("max_length"), types.MarkupKind.Markdown)
print("hovered" if shown is not None else "nothing shown")
print(sorted(name for name in set(sys.modules) - loaded if name.startswith("kaitoc")))
"""
ROW = re.compile(r"^\| (?:\*\*)?(\w+)(?:\*\* \(now\))? \| ([\d.]+) GiB \|", re.MULTILINE)


def rows(text: str) -> dict[str, float]:
    """Return the table of a hover: GiB by value."""
    return {value: float(gib) for value, gib in ROW.findall(text)}


@pytest.fixture
def opened(editor: Editor, tmp_path: Path) -> str:
    return editor.open(tmp_path / "new.yaml", BOTH)


def test_a_key_shows_the_documentation_of_the_release(editor: Editor, opened: str) -> None:
    release = newest_release().name
    shown = editor.hover(opened, at(BOTH, "gradient_checkpointing"))
    schema = load_schema(f"training_config/{release}")["$defs"]["TrainingArguments"]["properties"][
        "gradient_checkpointing"
    ]

    assert shown.startswith(f"**gradient_checkpointing** (TrainingArguments, {release})")
    assert schema["description"] in shown
    assert "Takes true or false. Default: `true`." in shown


def test_the_release_is_the_one_the_command_line_names(tmp_path: Path) -> None:
    editor = Editor("--isolated", "--kaito-version", "v0.9")
    uri = editor.open(tmp_path / "new.yaml", BOTH)

    assert "(TrainingArguments, v0.9)" in editor.hover(uri, at(BOTH, "gradient_checkpointing"))
    assert editor.quit() == 0


def test_the_bundled_runtime_is_named_in_words(tmp_path: Path) -> None:
    editor = Editor("--isolated", "--target", "bundled")
    uri = editor.open(tmp_path / "new.yaml", BOTH)

    assert "(TrainingArguments, the bundled runtime)" in editor.hover(uri, at(BOTH, "gradient_checkpointing"))
    assert "**TrainingArguments** (the bundled runtime)" in editor.hover(uri, at(BOTH, "TrainingArguments"))
    assert editor.quit() == 0


def test_a_flag_shows_the_peak_both_ways(editor: Editor, opened: str) -> None:
    shown = editor.hover(opened, at(BOTH, "gradient_checkpointing"))
    needs = rows(shown)

    assert set(needs) == {"true", "false"}
    assert needs["false"] > 1.5 * needs["true"]
    assert "| **true** (now) |" in shown
    assert "| false |" in shown


def test_a_value_with_which_the_run_would_not_fit_says_so(editor: Editor, opened: str) -> None:
    text = BOTH.replace("checkpointing: true", "checkpointing: false")
    editor.change(opened, text)
    shown = editor.hover(opened, at(text, "max_length"))

    assert re.search(r"\| 1024 \| [\d.]+ GiB \| fits \|", shown)
    assert re.search(r"\| 4096 \| [\d.]+ GiB \| does not fit \|", shown)


def test_a_batch_shows_the_peak_of_larger_ones(editor: Editor, opened: str) -> None:
    needs = rows(editor.hover(opened, at(BOTH, "per_device_train_batch_size")))

    assert list(needs) == ["1", "2", "4"]
    assert needs["1"] < needs["2"] < needs["4"]


def test_the_peak_shown_is_the_one_that_typing_the_value_gives(editor: Editor, opened: str) -> None:
    promised = rows(editor.hover(opened, at(BOTH, "max_length")))["4096"]
    text = BOTH.replace("max_length: 2048", "max_length: 4096")
    editor.change(opened, text)

    assert rows(editor.hover(opened, at(text, "max_length")))["4096"] == promised


def test_a_type_shows_the_peak_of_each(editor: Editor, opened: str) -> None:
    needs = rows(editor.hover(opened, at(BOTH, "torch_dtype")))

    assert needs["float32"] > needs["bfloat16"] == needs["float16"]


def test_the_value_shows_what_its_key_shows(editor: Editor, opened: str) -> None:
    assert editor.hover(opened, at(BOTH, "2048")) == editor.hover(opened, at(BOTH, "max_length"))


def test_a_key_that_does_not_matter_shows_no_table(editor: Editor, opened: str) -> None:
    shown = editor.hover(opened, at(BOTH, "train_test_split"))

    assert "**train_test_split**" in shown
    assert "GiB" not in shown


def test_a_section_shows_what_its_job_needs(editor: Editor, opened: str) -> None:
    shown = editor.hover(opened, at(BOTH, "LoraConfig"))

    assert "`tune-phi-3` (lora, phi-3-mini-4k-instruct, A10-24GB, 2,048 tokens, batch 1) needs " in shown


def test_each_job_of_a_config_map_has_its_table(editor: Editor, tmp_path: Path) -> None:
    other = WORKSPACE.replace("name: tune-phi-3\n", "name: other\n").replace("phi-3-mini-4k-instruct", "phi-4")
    text = f"{WORKSPACE}---\n{other}---\n{CONFIG_MAP}"
    shown = editor.hover(editor.open(tmp_path / "new.yaml", text), at(text, "max_length"))

    assert "Predicted peak of `tune-phi-3`" in shown
    assert "Predicted peak of `other`" in shown


def test_a_config_map_without_workspace_has_documentation_alone(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "new.yaml", CONFIG_MAP)

    assert "**max_length**" in editor.hover(uri, at(CONFIG_MAP, "max_length"))
    assert "GiB" not in editor.hover(uri, at(CONFIG_MAP, "max_length"))


@pytest.mark.parametrize("key", ["instanceType", "preset", "method", "matchLabels"])
def test_a_key_of_a_workspace_shows_its_documentation(editor: Editor, opened: str, key: str) -> None:
    assert editor.hover(opened, at(BOTH, key)).startswith(f"**{key}** (Workspace)")


@pytest.mark.parametrize("place", ["apiVersion: v1", "name: tune-phi-3-params\ndata", "---"])
def test_elsewhere_nothing_is_shown(editor: Editor, opened: str, place: str) -> None:
    assert editor.hover(opened, at(BOTH, place)) == ""


def test_a_hover_after_warming_up_has_nothing_left_to_load(tmp_path: Path) -> None:
    script = tmp_path / "hover.py"
    script.write_text(WARMED.format(text=BOTH), encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)

    assert done.stdout == "hovered\n[]\n"


def test_warming_up_leaves_wrong_settings_to_the_first_check() -> None:
    warm_up(Checker(EngineOptions(config="/nowhere/kaitoc.toml")))
