"""Both HTML reports at the width of a phone: nothing is wider than the screen."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaitoc.compiler.cli import cli
from kaitoc.runtime.observe.report import RunReport
from kaitoc.runtime.observe.report_html import render

BEFORE = Path(__file__).parents[1] / "passes" / "fit" / "checkpointing" / "before.yaml"
BROWSER = next((found for found in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if found), None)
PHONE_PIXELS = 390
PATIENCE_SECONDS = 600
FRAME = """<!doctype html><iframe style="border:0;width:{width}px;height:900px" srcdoc="{page}"></iframe><script>
onload = () => document.title = document.querySelector("iframe").contentDocument.documentElement.scrollWidth
</script>"""

pytestmark = [pytest.mark.runtime, pytest.mark.skipif(BROWSER is None, reason="no browser is installed")]


def compile_page(folder: Path) -> str:
    path = folder / "report.html"
    result = CliRunner().invoke(cli, ["compile", str(BEFORE), "--isolated", "--report", str(path)])
    assert result.exit_code == 0, result.output
    return path.read_text(encoding="utf-8")


def run_page(_folder: Path) -> str:
    report = RunReport(
        device="cpu", num_steps=40, num_examples=260, num_truncated=2, num_skipped=0, num_trainable_parameters=196_608,
        trainable_by_module={"qkv_proj": 100_000, "gate_up_proj": 96_608}, first_loss=6.49, last_loss=6.21,
        seconds=4.0, tokens_per_second=422.0, predicted_allocated_bytes=12_000_000,
        measured_allocated_bytes=12_000_000, predicted_reserved_bytes=None, measured_reserved_bytes=None,
        predicted_device_bytes=None, measured_device_bytes=None, adapter_folder="/mnt/results/adapter",
    )  # fmt: skip
    metrics = [{"step": step, "loss": 6.5 - step / 100, "memory_bytes": 734_000_000 + step} for step in range(1, 41)]
    return render("tune-phi-3", report, metrics)


@pytest.mark.parametrize("page_of", [compile_page, run_page])
def test_a_page_is_no_wider_than_a_phone(page_of: object, tmp_path: Path) -> None:
    assert callable(page_of)
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=PHONE_PIXELS, page=escape(page_of(tmp_path))), encoding="utf-8")
    words = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom",
             f"--user-data-dir={tmp_path / 'profile'}", frame.as_uri()]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True)

    width = re.search(r"<title>(\d+)</title>", done.stdout)
    assert width is not None
    assert int(width[1]) <= PHONE_PIXELS
