"""What MkDocs adds to `docs/` when it builds the site: a page for each rule, and those that lie beside `docs/`.

Nothing of it is committed. A rule's page is `rules/CODE/`, the address that findings link to.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from kaitoc.compiler.check.rule_index import rules_by_area
from kaitoc.compiler.check.rule_pages import page_path, page_text
from kaitoc.rules import RULES

ROOT = Path(__file__).resolve().parent.parent
TOP_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
RULE_PAGES = {f"rules/{page_path(rule).name}": f"rules/{rule.CODE}.md" for rule in RULES}

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\[\]]+)\]\((?P<target>[^()\s]+)\)")
_SOURCE = re.compile(r"(?P<before>!\[[^\]]*\]\(|\b(?:src|srcset)=\")(?P<target>[^()\s\"]+)")
_FENCE_OPTIONS = re.compile(r"^```yaml (?P<words>[^\n{]+)$", re.MULTILINE)
_FENCE_WORDS = {"after-fix": "(after --fix)", "update": "(the object after an update)"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the rules' pages by area below the index of the rules."""
    areas: list[str | dict[str, list[dict[str, str]]]] = ["rules.md"]
    for area, rules in rules_by_area().items():
        areas.append({area.title: [{f"{rule.CODE} {rule.NAME}": f"rules/{rule.CODE}.md"} for rule in rules]})
    config.nav = [{"Rules": areas} if entry == {"Rules": "rules.md"} else entry for entry in config.nav or ()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie under `docs/`."""
    for name, page in TOP_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for rule in RULES:
        files.append(File.generated(config, f"rules/{rule.CODE}.md", content=page_text(rule)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point links at the site's pages, and say above an example for what it holds."""
    path = page.file.src_uri
    markdown = _LINK.sub(lambda link: _linked(link["text"], link["target"], path), markdown)
    markdown = _SOURCE.sub(lambda source: source["before"] + (_site_link(source["target"], path) or ""), markdown)
    return _FENCE_OPTIONS.sub(lambda fence: f'```yaml title="{_fence_title(fence["words"])}"', markdown)


def _linked(text: str, target: str, page: str) -> str:
    """Return a link as it is on the site; only its text where the site does not hold the target."""
    address = _site_link(target, page)
    return text if address is None else f"[{text}]({address})"


def _site_link(target: str, page: str) -> str | None:
    """Return the link from a page to what `target` names in the repository, None where that is not on the site."""
    if "://" in target or target.startswith(("#", "mailto:")):
        return target
    path, hash_sign, anchor = target.partition("#")
    named = posixpath.normpath(posixpath.join(posixpath.dirname(_repository_path(page)), path))
    found = TOP_PAGES.get(named) or RULE_PAGES.get(named)
    if found is None and named.startswith("docs/"):
        found = named.removeprefix("docs/")
    if found is None and (ROOT / named).exists():
        return None
    return posixpath.relpath(found or named, posixpath.dirname(page) or ".") + hash_sign + anchor


def _repository_path(page: str) -> str:
    """Locate the repository file of a page of the site."""
    for name, top_page in (TOP_PAGES | RULE_PAGES).items():
        if page == top_page:
            return name
    return f"docs/{page}"


def _fence_title(words: str) -> str:
    """Return the words behind a fence's language, which say for what the example holds, as options of `check`."""
    titles = []
    for word in words.split():
        name, _, value = word.partition("=")
        titles.append(f"--{name} {value}" if value else _FENCE_WORDS[name])
    return " ".join(titles)
