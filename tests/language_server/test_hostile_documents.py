from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsp_editor import Editor, at
from lsp_manifests import BOTH, CONFIG_MAP
from lsprotocol import types

from kaitoc.compiler.language_server.server import PAUSE_SECONDS

LSP = [sys.executable, "-c", "from kaitoc.compiler.cli import main; main()", "lsp"]
HOSTILE = {
    "empty": "",
    "nul": "a: \0\0\0",
    "nested": "[" * 20_000,
    "nested inside": CONFIG_MAP.replace("r: 16", "r: " + "[" * 5_000),
    "aliases": "a: &a [1]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(500)) + CONFIG_MAP,
    "billion laughs": "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}, *a{i}]\n" for i in range(40)),
    "recursive": "a: &a\n  b: *a\nkind: ConfigMap\ndata: {training_config.yaml: *a}\n",
    "half a surrogate": CONFIG_MAP.replace("r: 16", 'r: "\ud83d"'),
    "wrong kinds": "apiVersion: kaito.sh/v1beta1\nkind: Workspace\nmetadata: []\ntuning: [1]\nresource: 3\n",
    "huge number": BOTH.replace("max_length: 2048", "max_length: " + "9" * 3_000),
    "huge batch": BOTH.replace("batch_size: 1", f"batch_size: {2**62}"),
    "one long line": "a: " + "x" * 1_000_000,
    "too large": "# " + "x" * 5_000_001,
    "tabs": BOTH.replace("        ", "\t"),
}


def answers(editor: Editor, folder: Path) -> bool:
    uri = editor.open(folder / "good.yaml", BOTH.replace("r: 16", "rank: 16"))
    return editor.codes(uri) == ["KT202"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_does_not_stop_the_server(editor: Editor, tmp_path: Path, name: str) -> None:
    text = HOSTILE[name]
    folder = tmp_path / "hostile"
    uri = editor.open(folder / "a.yaml", text)
    middle = types.Position(text.count("\n") // 2, 12)
    editor.hover(uri, middle)
    editor.completions(uri, middle)
    editor.actions(uri, types.Range(types.Position(0, 0), types.Position(10**6, 0)))

    assert not any("internal error" in diagnostic.message for diagnostic in editor.diagnostics(uri))
    assert answers(editor, tmp_path)


def test_a_document_that_is_too_large_is_told_and_leaves_its_neighbours_alone(editor: Editor, tmp_path: Path) -> None:
    large = editor.open(tmp_path / "large.yaml", HOSTILE["too large"])

    assert answers(editor, tmp_path)
    (told,) = editor.diagnostics(large)
    assert "larger than 5 MB" in told.message


@pytest.mark.parametrize("uri", ["", "nonsense", "file://", "file:///a%00b.yaml", "untitled:%ff", "git:/a.yaml?x=1#y"])
def test_any_uri_will_do(editor: Editor, tmp_path: Path, uri: str) -> None:
    editor.open(uri, BOTH.replace("r: 16", "rank: 16"))

    assert editor.codes(uri) == ["KT202"]
    assert answers(editor, tmp_path)


def test_a_uri_that_cannot_be_read_is_passed_over(editor: Editor, tmp_path: Path) -> None:
    editor.open("file://[", BOTH)

    assert answers(editor, tmp_path)


def test_positions_outside_the_text_are_answered(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "a.yaml", CONFIG_MAP)
    far = types.Position(2**31 - 1, 2**31 - 1)

    assert editor.hover(uri, far) == ""
    assert list(editor.completions(uri, far)) == []


def test_a_document_that_is_not_open_has_no_answers(editor: Editor) -> None:
    assert editor.hover("file:///nowhere.yaml", types.Position(0, 0)) == ""


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(BOTH)), typed=st.text(max_size=8))
def test_whatever_is_typed_the_server_answers(editor: Editor, tmp_path: Path, cut: int, typed: str) -> None:
    text = BOTH[:cut] + typed + BOTH[cut + 1 :]
    uri = editor.open(tmp_path / "a.yaml", text)
    here = at(text.replace("\r", "\n"), "", cut)
    editor.hover(uri, here)
    editor.completions(uri, here)

    assert not any("internal error" in diagnostic.message for diagnostic in editor.diagnostics(uri))


def message(content: str) -> bytes:
    return f"Content-Length: {len(content.encode())}\r\n\r\n{content}".encode()


def test_a_message_that_is_no_json_is_passed_over() -> None:
    initialize = '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}'
    stop = '{"jsonrpc":"2.0","id":2,"method":"shutdown"}'
    stream = message("{not json") + message(initialize) + message("[]") + message(stop)
    stream += message('{"jsonrpc":"2.0","method":"exit"}')
    done = subprocess.run(LSP, input=stream, capture_output=True, timeout=600, check=False)

    assert b'"id":1' in done.stdout.replace(b" ", b"")
    assert b'"id":2' in done.stdout.replace(b" ", b"")
    assert done.returncode == 0


def test_the_server_ends_with_its_editor() -> None:
    done = subprocess.run(LSP, input=b"", capture_output=True, timeout=600, check=False)

    assert b"Traceback" not in done.stderr


def test_an_editor_that_leaves_need_not_wait_for_a_check(tmp_path: Path) -> None:
    """The findings of thousands of jobs, which are still looked for, are nobody's any more."""
    documents = (BOTH.replace("tune-phi-3", f"tune-{number}") for number in range(2_000))
    opened = {
        "uri": (tmp_path / "a.yaml").as_uri(),
        "languageId": "yaml",
        "version": 1,
        "text": "---\n".join(documents),
    }
    calls = [
        {"id": 1, "method": "initialize", "params": {"capabilities": {}}},
        {"method": "textDocument/didOpen", "params": {"textDocument": opened}},
        {"id": 2, "method": "shutdown"},
        {"method": "exit"},
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "kaitoc", "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        for call in calls:
            if call["method"] == "shutdown":
                time.sleep(PAUSE_SECONDS + 1)
            server.stdin.write(message(json.dumps({"jsonrpc": "2.0", **call})))
            server.stdin.flush()
        published = server.communicate(timeout=60)[0]
    assert b"publishDiagnostics" not in published
    assert server.returncode == 0


def test_without_pygls_it_says_what_to_install() -> None:
    hide = "import sys; sys.modules['pygls'] = None; sys.argv = ['kaitoc', 'lsp']\n"
    run = "from kaitoc.compiler.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", hide + run], capture_output=True, text=True, timeout=600, check=False)

    assert done.returncode == 2
    assert 'pip install "kaitoc[lsp]"' in done.stderr
    assert "Traceback" not in done.stderr
