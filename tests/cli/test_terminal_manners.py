"""How commands behave on terminals, full devices and closed streams."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import Terminal

DEMO = Path(__file__).parents[2] / "examples/demo.yaml"
SERVER = Path(__file__).parents[1] / "passes/fit_server/a_context_that_is_too_long/before.yaml"
COMMANDS = (
    ["check", str(DEMO)],
    ["check", "--show-effective", str(SERVER)],
    ["compile", "--goal", "throughput", str(SERVER)],
    ["compile", str(DEMO)],
    ["rules"],
    ["explain", "KT401"],
    ["estimate", "--model", "phi-4", "--gpu", "A100-80GB", "--phase"],
    ["estimate", "--task", "serve", "--model", "phi-4", "--gpu", "A100-80GB"],
    ["upgrade", "--from", "v0.10", "--to", "v0.12", str(DEMO)],
    ["models"],
    ["instances"],
    ["estimate", "--help"],
)
SOURCE = re.compile(r"\s*\d+ \| |    |@@|[-+]")
FULL = Path("/dev/full")


def kaitoc(*arguments: str, redirect: str = "") -> subprocess.CompletedProcess[str]:
    script = f'exec "$0" -m kaitoc "$@" {redirect}'
    return subprocess.run(["bash", "-c", script, sys.executable, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: " ".join(words[:1]))
def test_no_word_is_broken_at_80_columns(arguments: list[str]) -> None:
    for line in Terminal(columns=80, variables={"NO_COLOR": "1"}).run(arguments).terminal.split("\n"):
        text = line.rpartition("\r\x1b[K")[2]
        assert len(text) <= 80 or SOURCE.match(text) or len(text.split()) == 1, text
        assert text == text.rstrip() or SOURCE.match(text), text


def test_tables_are_lists_below_100_columns() -> None:
    assert "  severity: error\n" in Terminal(columns=99).run(["rules"]).terminal
    assert re.search(r"^KT101  invalid-yaml +error", Terminal(columns=100).run(["rules"]).terminal, re.MULTILINE)


def test_a_dumb_terminal_gets_no_escapes() -> None:
    assert "\x1b" not in Terminal(variables={"TERM": "dumb"}).run(["check", str(DEMO)]).terminal
    assert "\x1b[1" in Terminal().run(["check", str(DEMO)]).terminal


@pytest.mark.parametrize(("arguments", "what"), [(["admit"], "an AdmissionReview"), (["check", "-"], "manifests")])
def test_a_command_that_reads_the_terminal_says_what_it_waits_for(arguments: list[str], what: str) -> None:
    shown = Terminal().run(arguments, typed=b"\x04")
    assert f"kaitoc: reading {what} from standard input; press Ctrl-D to end\n" in shown.terminal


def test_a_pipe_is_read_without_a_word() -> None:
    done = kaitoc("check", "-", redirect="< /dev/null")
    assert "reading" not in done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", [["check", str(DEMO)], ["rules"], ["--help"], ["compile", str(DEMO)]])
def test_a_full_device_is_one_clear_error(arguments: list[str]) -> None:
    done = kaitoc(*arguments, redirect="> /dev/full")
    assert (done.returncode, done.stderr) == (2, "kaitoc: cannot write to standard output: No space left on device\n")


@pytest.mark.parametrize("stream", [">&-", "2>&-"])
def test_a_closed_stream_is_no_error(stream: str) -> None:
    done = kaitoc("check", str(DEMO), redirect=stream)
    assert done.returncode == 0
    assert "internal error" not in done.stderr


@pytest.mark.parametrize("arguments", [["check", str(DEMO)], ["rules"], ["check", "--help"], ["compile", str(DEMO)]])
def test_output_that_nobody_reads_ends_a_command_as_sigpipe_does(arguments: list[str]) -> None:
    """As `kubectl options | true` ends; ruff 0.17 ends with 0, which hides findings from `set -o pipefail`."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "kaitoc", *arguments], stdout=theirs, stderr=subprocess.PIPE, text=True
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, "")
