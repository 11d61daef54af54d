"""Every help that names an edit or a command is carried out, and does what it says.

A help is followed word for word (`hint_cases.py`); where that shows another fault, its help is followed too. The
finding must be gone, and no error may be left that was not there before.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner
from hint_cases import followed
from page_examples import Example, checked, examples, findings_of

from kaitoc.compiler.cli import cli
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.source import Source
from kaitoc.rules import RULES

MOST_ROUNDS = 4
LEAST_FOLLOWED = 145
HIDES_OTHERS = ("KT105", "KT106")
"""What is under an unknown key, or in an object of an unknown kind, is judged only once that is right."""

EXAMPLES = [example for rule in RULES for example in examples(rule) if example.expected and not example.previous]
COMMAND = re.compile(r"`kaitoc (compile --goal throughput)` does")


def errors_in(example: Example, text: str) -> list[Finding]:
    return [finding for finding in checked(example, text)[1].findings if finding.severity is Severity.ERROR]


def new_errors(example: Example, text: str) -> list[Finding]:
    before = Counter(one.code for one in errors_in(example, example.text))
    return [finding for finding in errors_in(example, text) if not before[finding.code]]


def followed_through(example: Example, source: Source, finding: Finding) -> str | None:
    """Return the text after a help, and those of the faults that it shows, were followed; None where it names none."""
    text = followed(example, source, finding)
    for _ in range(MOST_ROUNDS):
        shown = new_errors(example, text) if text is not None else []
        if text is None or not shown:
            break
        further = followed(example, Source("example.yaml", text), shown[0])
        if further is None:
            break
        text = further
    return text


@cache
def hints(example: Example) -> list[tuple[Finding, str]]:
    """Return the findings of an example whose help names an edit, each with the text after it was followed."""
    source, findings = findings_of(example)
    texts = [(finding, followed_through(example, source, finding)) for finding in findings if finding.help]
    return [(finding, text) for finding, text in texts if text is not None]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_helps_that_are_followed_mend_their_findings(example: Example) -> None:
    _, before = findings_of(example)

    assert len(before) == len(example.expected)
    for finding, text in hints(example):
        _, after = findings_of(example, text)

        assert len(after) < len(before), finding.help
        if finding.code not in HIDES_OTHERS:
            assert [one.message for one in new_errors(example, text)] == [], finding.help


def test_most_helps_name_an_edit() -> None:
    assert sum(len(hints(example)) for example in EXAMPLES) >= LEAST_FOLLOWED


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_command_that_a_help_names_does_it(example: Example, tmp_path: Path) -> None:
    _, findings = findings_of(example)
    for finding in findings:
        command = COMMAND.search(finding.help)
        if command is None:
            continue
        path = tmp_path / "example.yaml"
        path.write_text(example.text, encoding="utf-8")
        options = [
            f"--{name}={value}"
            for name, value in example.options.items()
            if name in ("model", "gpu", "kaito-version", "target", "seq-len")
        ]
        result = CliRunner().invoke(cli, [*command.group(1).split(), str(path), "--in-place", "--isolated", *options])

        assert result.exit_code == 0, result.output
        assert findings_of(example, path.read_text(encoding="utf-8"))[1] == []


def test_a_command_is_named_by_several_helps() -> None:
    named = [one for example in EXAMPLES for one in findings_of(example)[1] if COMMAND.search(one.help)]
    assert {one.code for one in named} >= {"KT604", "KT606"}
