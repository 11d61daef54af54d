from __future__ import annotations

from pathlib import Path

import pytest
from lsp_editor import Editor, at
from lsp_manifests import BOTH, CONFIG_MAP, WORKSPACE, WRONG_MODULES
from lsprotocol import types

from kaitoc.compiler import __version__

EMOJI = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data:
  training_config.yaml: |
    training_config:
      LoraConfig: {base_model_name_or_path: "😀𐍈é", nonsense: 1}
"""


def named(diagnostics: list[types.Diagnostic], code: str) -> types.Diagnostic:
    (found,) = [diagnostic for diagnostic in diagnostics if diagnostic.code == code]
    return found


def test_a_clean_document_has_none(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "new.yaml", BOTH)

    assert editor.codes(uri) == []


def test_the_range_is_that_of_the_inner_yaml(editor: Editor, tmp_path: Path) -> None:
    text = BOTH.replace("r: 16", "rank: 16")
    found = named(editor.diagnostics(editor.open(tmp_path / "new.yaml", text)), "KT202")

    assert found.range == types.Range(at(text, "rank"), at(text, "rank", len("rank")))
    assert found.severity is types.DiagnosticSeverity.Error
    assert found.source == "kaitoc"
    assert found.code_description is not None
    assert found.code_description.href.endswith("/KT202")


@pytest.mark.parametrize(("encoding", "column"), [("utf-16", 53), ("utf-8", 58), ("utf-32", 51)])
def test_columns_count_the_code_units_that_were_agreed_on(tmp_path: Path, encoding: str, column: int) -> None:
    editor = Editor("--isolated", encodings=[encoding])
    found = named(editor.diagnostics(editor.open(tmp_path / "new.yaml", EMOJI)), "KT202")

    assert editor.server.capabilities.position_encoding == encoding
    assert (found.range.start.line, found.range.start.character) == (6, column)
    assert editor.quit() == 0


def test_columns_count_utf_16_units_when_nothing_was_agreed_on(editor: Editor, tmp_path: Path) -> None:
    found = named(editor.diagnostics(editor.open(tmp_path / "new.yaml", EMOJI)), "KT202")

    assert found.range.start == at(EMOJI, "nonsense")


def test_they_follow_what_is_typed(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "new.yaml", BOTH)
    editor.diagnostics(uri)
    editor.change(uri, BOTH.replace("r: 16", "rank: 16"))
    assert editor.codes(uri) == ["KT202"]

    editor.change(uri, BOTH)
    assert editor.codes(uri) == []


def test_the_partner_is_found_on_disk(editor: Editor, tmp_path: Path) -> None:
    (tmp_path / "workspace.yaml").write_text(WORKSPACE)
    uri = editor.open(tmp_path / "config.yaml", WRONG_MODULES)

    assert editor.codes(uri) == ["KT401"]


def test_the_partner_is_found_in_a_buffer_that_was_never_saved(editor: Editor, tmp_path: Path) -> None:
    workspace = editor.open(tmp_path / "workspace.yaml", WORKSPACE)
    assert editor.codes(workspace) == ["KT301"]

    config = editor.open(tmp_path / "config.yaml", WRONG_MODULES)
    assert editor.codes(config) == ["KT401"]
    assert editor.codes(workspace) == []


def test_a_buffer_counts_for_more_than_its_file(editor: Editor, tmp_path: Path) -> None:
    (tmp_path / "workspace.yaml").write_text(WORKSPACE.replace("phi-3-mini-4k-instruct", "llama-3.1-8b-instruct"))
    (tmp_path / "config.yaml").write_text(CONFIG_MAP)
    editor.open(tmp_path / "workspace.yaml", WORKSPACE)
    uri = editor.open(tmp_path / "config.yaml")

    assert editor.codes(uri) == []


def test_typing_in_one_document_changes_those_of_its_partner(editor: Editor, tmp_path: Path) -> None:
    workspace = editor.open(tmp_path / "workspace.yaml", WORKSPACE)
    config = editor.open(tmp_path / "config.yaml", WRONG_MODULES)
    editor.codes(workspace)
    assert editor.codes(config) == ["KT401"]

    editor.change(workspace, WORKSPACE.replace("phi-3-mini-4k-instruct", "mistral-7b-instruct"))
    assert "KT401" not in editor.codes(config)


def test_untitled_documents_are_partners_of_each_other(editor: Editor) -> None:
    editor.open("untitled:Untitled-1", WORKSPACE)
    uri = editor.open("untitled:Untitled-2", WRONG_MODULES)

    assert editor.codes(uri) == ["KT401"]


def test_a_related_place_names_its_file(editor: Editor, tmp_path: Path) -> None:
    text = BOTH.replace("        r: 16\n", "        r: 16\n        r: 32\n")
    uri = editor.open(tmp_path / "new.yaml", text)
    found = named(editor.diagnostics(uri), "KT102")

    assert found.related_information is not None
    (related,) = found.related_information
    assert related.location.uri == uri
    assert related.location.range.start == at(text, "r: 16")


def test_closing_takes_them_back(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "new.yaml", BOTH.replace("r: 16", "rank: 16"))
    assert editor.codes(uri) == ["KT202"]
    editor.close(uri)

    editor.wait(lambda: uri in editor.published)
    assert list(editor.published[uri].diagnostics) == []


def test_other_yaml_is_left_alone(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "values.yaml", "image: {tag: 1\nnot: [yaml")

    assert editor.diagnostics(uri) == []


@pytest.fixture
def plain_editor() -> Editor:
    """An editor whose server looks for settings files."""
    return Editor()


def test_the_closest_settings_file_is_honoured_and_read_anew(plain_editor: Editor, tmp_path: Path) -> None:
    settings = tmp_path / "kaitoc.toml"
    settings.write_text('ignore = ["KT202"]\n')
    uri = plain_editor.open(tmp_path / "new.yaml", BOTH.replace("r: 16", "rank: 16"))
    assert plain_editor.codes(uri) == []
    assert plain_editor.registered == [types.WORKSPACE_DID_CHANGE_WATCHED_FILES]

    settings.write_text("")
    plain_editor.file_changed(settings)
    assert plain_editor.codes(uri) == ["KT202"]

    settings.write_text('exclude = ["new.yaml"]\n')
    plain_editor.save(uri)
    assert plain_editor.codes(uri) == []
    assert plain_editor.quit() == 0


def test_a_settings_file_that_cannot_be_used_is_told_in_the_document(plain_editor: Editor, tmp_path: Path) -> None:
    (tmp_path / "kaitoc.toml").write_text("selekt = []\n")
    (told,) = plain_editor.diagnostics(plain_editor.open(tmp_path / "new.yaml", BOTH))

    assert "kaitoc.toml:1: selekt: unknown key; did you mean `select`?" in told.message
    assert told.range.start == types.Position(0, 0)
    assert plain_editor.quit() == 0


def test_the_command_line_states_what_to_assume(tmp_path: Path) -> None:
    editor = Editor("--isolated", "--model", "phi-3-mini-4k-instruct", "--select", "KT401")

    assert editor.codes(editor.open(tmp_path / "new.yaml", WRONG_MODULES)) == ["KT401"]
    assert editor.quit() == 0


def test_the_server_says_what_it_is(editor: Editor) -> None:
    assert editor.server.server_info == types.ServerInfo("kaitoc", __version__)
