"""The documentation's site: built strictly, a page for each rule where findings link to, nothing from another host."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kaitoc.compiler.check.rule_info import HOME_URL, rule_url
from kaitoc.rules import RULES

ROOT = Path(__file__).resolve().parents[2]


LOADING = {
    ("script", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("source", "srcset"),
    ("iframe", "src"),
    ("link", "href"),
}
ONLY_NAMED = {"canonical", "next", "prev", "alternate"}


class Loads(HTMLParser):
    """Collects the addresses that a browser loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "link" and dict(attrs).get("rel") in ONLY_NAMED:
            return
        self.addresses += [value for name, value in attrs if (tag, name) in LOADING and value]


def loads_of(page: Path) -> list[str]:
    parser = Loads()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.addresses


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make site` builds it: any broken link, anchor or forgotten page is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.slow
def test_every_rule_has_its_page_where_findings_link_to(site: Path) -> None:
    for rule in RULES:
        address = rule_url(rule.CODE)
        assert address.startswith(HOME_URL)
        page = site / address.removeprefix(HOME_URL) / "index.html"
        assert f"{rule.NAME} ({rule.CODE})" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_index_links_to_every_rules_page(site: Path) -> None:
    index = (site / "rules" / "index.html").read_text(encoding="utf-8")

    assert [rule.CODE for rule in RULES if f'<a href="{rule.CODE}/">{rule.NAME}</a>' not in index] == []


@pytest.mark.slow
def test_every_page_of_the_documentation_is_on_the_site(site: Path) -> None:
    sources = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}

    assert [page for page in sources if not (site / page / "index.html").is_file()] == []
    assert (site / "index.html").is_file()


@pytest.mark.slow
def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    foreign = {
        (page.relative_to(site), address)
        for page in site.rglob("*.html")
        for address in loads_of(page)
        if urlsplit(address).netloc
    }

    assert foreign == set()


@pytest.mark.slow
def test_no_style_sheet_loads_anything_from_another_host(site: Path) -> None:
    sheets = list(site.rglob("*.css"))

    assert sheets
    assert [sheet.name for sheet in sheets if "url(http" in sheet.read_text(encoding="utf-8")] == []


@pytest.mark.slow
def test_an_example_says_for_which_options_it_holds(site: Path) -> None:
    page = (site / "rules" / "KT501" / "index.html").read_text(encoding="utf-8")

    assert "--model phi-3-mini-128k-instruct --gpu A10-24GB --kaito-version v0.11" in page


@pytest.mark.slow
def test_the_search_knows_the_rules_pages(site: Path) -> None:
    assert "rules/KT501/" in (site / "search" / "search_index.json").read_text(encoding="utf-8")
