"""The HTML report in a real browser: it is drawn whole, without a request and without a complaint."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from kaitoc.compiler.cli import cli
from kaitoc.compiler.report.compile.chart import COLORS

BEFORE = Path(__file__).parents[1] / "passes" / "fit" / "checkpointing" / "before.yaml"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for found in map(shutil.which, NAMES) if found), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--window-size=1100,1400",
)  # fmt: skip
SECONDS = 600
PAGE_KEY = '"network_isolation_key":"file://'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"no browser is installed: none of {', '.join(NAMES)}"),
]


@dataclass(frozen=True, slots=True)
class Visit:
    """What a browser made of a page: its document, what its console says, and what it asked a network for."""

    document: str
    console: list[str]
    requests: list[str]


def visit(page: Path, folder: Path, *flags: str) -> Visit:
    """Open a page; two processes of one browser must not share a profile."""
    log = folder / "network.json"
    words = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", *flags]
    done = subprocess.run([*words, page.as_uri()], capture_output=True, text=True, timeout=SECONDS, check=True)
    console = re.findall(r"CONSOLE.*", done.stderr)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    # The browser asks for its own updates too; what it asks for a page has the page's key.
    requests = [found[1] for line in lines if PAGE_KEY in line and (found := re.search(r'"url":"([^"]+)"', line))]
    return Visit(done.stdout, console, requests)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that needs a change to fit, as the command line writes it."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    words = ("compile", str(BEFORE), "--target", "bundled", "--attention", "eager", "--isolated")
    result = CliRunner().invoke(cli, [*words, "--report", str(path)])
    assert result.exit_code == 0, result.output
    return path


def test_the_page_is_drawn_without_a_request_or_a_complaint(page: Path, tmp_path: Path) -> None:
    seen = visit(page, tmp_path, "--dump-dom")

    assert seen.console == []
    assert seen.requests == []
    drawn = re.findall(r'<rect [^>]*fill="(#\w+)"', seen.document)
    bars = [re.search(rf'<text x="0" y="\d+">{name}</text>', seen.document) for name in ("before", "after")]
    assert all(bars)
    assert drawn.count(COLORS["weights"]) == len(bars) + len(["legend"])
    assert "gradient_checkpointing: false → true" in seen.document


def test_a_page_that_complains_and_asks_the_network_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<script>console.error("no")</script><img src="http://example.invalid/x.png">', encoding="utf-8")

    seen = visit(page, tmp_path, "--dump-dom")

    assert seen.console
    assert "http://example.invalid/x.png" in seen.requests


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_chart_is_on_the_screen_in_both_schemes(page: Path, tmp_path: Path, scheme: str) -> None:
    shot = tmp_path / "page.png"
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []

    visit(page, tmp_path, f"--screenshot={shot}", "--hide-scrollbars", *dark)

    image = Image.open(shot).convert("RGB")
    shares = {color: count for count, color in image.getcolors(maxcolors=1 << 24)}
    background = max(shares, key=lambda color: shares[color])
    assert (sum(background) < 3 * 128) is (scheme == "dark")
    assert shares[rgb(COLORS["weights"])] > 1000
    assert shares[rgb(COLORS["activations"])] > 1000


def rgb(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color.removeprefix("#")))
