from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lsp_editor import Editor, apply, at
from lsp_manifests import BOTH, CONFIG_MAP, WORKSPACE, WRONG_MODULES
from lsprotocol import types

FIX_ALL = "source.fixAll.kaitoc"
SEVERAL = BOTH.replace("[qkv_proj, o_proj, gate_up_proj, down_proj]", "[q_proj, o_proj, gate_proj] # ours 😀").replace(
    "train_batch_size: 1", "train_batch_size: 4"
)


def everywhere(text: str) -> types.Range:
    return types.Range(types.Position(0, 0), types.Position(text.count("\n") + 1, 0))


def versioned_edits(action: types.CodeAction, uri: str, version: int) -> list[types.TextEdit]:
    """Return the edits of an action on one document, for one version of it."""
    assert action.edit is not None
    assert action.edit.document_changes is not None
    (change,) = action.edit.document_changes
    assert isinstance(change, types.TextDocumentEdit)
    assert (change.text_document.uri, change.text_document.version) == (uri, version)
    return [edit for edit in change.edits if isinstance(edit, types.TextEdit)]


def test_a_finding_with_a_fix_has_a_quick_fix(editor: Editor, tmp_path: Path) -> None:
    text = f"{WRONG_MODULES}---\n{WORKSPACE}"
    uri = editor.open(tmp_path / "new.yaml", text)
    here = types.Range(at(text, "gate_proj"), at(text, "gate_proj"))
    (action,) = editor.actions(uri, here, [types.CodeActionKind.QuickFix])

    assert action.title == "Train `qkv_proj`, `o_proj`, `gate_up_proj` and `down_proj`"
    assert action.is_preferred
    assert action.diagnostics is not None
    assert [diagnostic.code for diagnostic in action.diagnostics] == ["KT401"]
    assert apply(text, versioned_edits(action, uri, 1)) == BOTH


def test_edits_name_the_version_that_is_typed(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "new.yaml", BOTH)
    text = f"{WRONG_MODULES}---\n{WORKSPACE}"
    editor.change(uri, BOTH)
    editor.change(uri, text)
    (action, *_) = editor.actions(uri, everywhere(text), [FIX_ALL])

    assert apply(text, versioned_edits(action, uri, 3)) == BOTH


def test_a_fix_that_may_change_the_result_says_so(editor: Editor, tmp_path: Path) -> None:
    text = BOTH.replace("torch_dtype", "torch_dtypes")
    uri = editor.open(tmp_path / "new.yaml", text)
    (action,) = editor.actions(uri, types.Range(at(text, "torch_dtypes"), at(text, "torch_dtypes")))

    assert action.title.endswith("(may change the result)")
    assert not action.is_preferred
    assert apply(text, versioned_edits(action, uri, 1)) == BOTH


def test_only_the_findings_in_the_range_have_quick_fixes(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "new.yaml", SEVERAL)
    here = types.Range(at(SEVERAL, "train_batch_size"), at(SEVERAL, "gradient_checkpointing"))
    actions = editor.actions(uri, here, [types.CodeActionKind.QuickFix])

    assert [str(d.code) for action in actions for d in action.diagnostics or ()] == ["KT404"]


def test_fix_all_does_what_check_fix_does(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "open.yaml", SEVERAL)
    (action,) = editor.actions(uri, everywhere(SEVERAL), ["source.fixAll"])
    fixed = tmp_path / "elsewhere" / "open.yaml"
    fixed.parent.mkdir()
    fixed.write_text(SEVERAL, encoding="utf-8")
    command = "from kaitoc.compiler.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", command, "check", "--isolated", "--fix", str(fixed)], check=False, capture_output=True
    )

    assert fixed.read_text(encoding="utf-8") != SEVERAL
    assert apply(SEVERAL, versioned_edits(action, uri, 1)) == fixed.read_text(encoding="utf-8")


def test_what_needs_no_fix_has_no_action(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "new.yaml", BOTH)

    assert list(editor.actions(uri, everywhere(BOTH))) == []


def test_a_fix_reads_the_buffers_beside_the_document(editor: Editor, tmp_path: Path) -> None:
    editor.open(tmp_path / "workspace.yaml", WORKSPACE)
    uri = editor.open(tmp_path / "config.yaml", WRONG_MODULES)
    (action,) = editor.actions(uri, everywhere(WRONG_MODULES), [FIX_ALL])

    assert apply(WRONG_MODULES, versioned_edits(action, uri, 1)) == CONFIG_MAP


def test_a_client_that_knows_no_versions_gets_plain_edits(tmp_path: Path) -> None:
    editor = Editor("--isolated", edits_by_version=False)
    text = f"{WRONG_MODULES}---\n{WORKSPACE}"
    uri = editor.open(tmp_path / "new.yaml", text)
    (action,) = editor.actions(uri, everywhere(text), [FIX_ALL])

    assert action.edit is not None
    assert action.edit.changes is not None
    assert apply(text, list(action.edit.changes[uri])) == BOTH
    assert editor.quit() == 0


def test_edits_keep_windows_line_breaks(editor: Editor, tmp_path: Path) -> None:
    text = f"{WRONG_MODULES}---\n{WORKSPACE}".replace("\n", "\r\n")
    uri = editor.open(tmp_path / "new.yaml", text)
    (action,) = editor.actions(uri, everywhere(text), [FIX_ALL])

    assert apply(text, versioned_edits(action, uri, 1)) == BOTH.replace("\n", "\r\n")
