"""Every format against a committed file; `KAITOC_UPDATE_GOLDEN=1` writes them anew."""

import os
from pathlib import Path

import pytest

from kaitoc.compiler import __version__
from kaitoc.compiler.report import FORMATS, render
from kaitoc.compiler.report.model import Report

GOLDEN = Path(__file__).parent / "golden"
SUFFIXES = {"json": "json", "sarif": "json", "gitlab": "json", "rdjson": "json", "junit": "xml", "markdown": "md"}


def assert_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    text = text.replace(f'"semanticVersion": "{__version__}"', '"semanticVersion": "VERSION"')
    if os.environ.get("KAITOC_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8", newline="")

    assert text == path.read_bytes().decode("utf-8")


@pytest.mark.parametrize("format_name", FORMATS)
def test_findings_render_as_committed(format_name: str, full_report: Report) -> None:
    assert_golden(f"{format_name}.{SUFFIXES.get(format_name, 'txt')}", render(full_report, format_name))


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_clean_run_renders_as_committed(format_name: str) -> None:
    report = Report(files=("manifests/clean.yaml",))

    assert_golden(f"{format_name}-clean.{SUFFIXES.get(format_name, 'txt')}", render(report, format_name))


def test_colored_text_renders_as_committed(full_report: Report) -> None:
    assert_golden("text-color.txt", render(full_report, "text", color=True))


def test_hostile_text_renders_as_committed(hostile_report: Report) -> None:
    assert_golden("text-hostile.txt", render(hostile_report, "text"))
