"""List the messages and help texts that commits change and that no commit message shows: `make messages`.

A change is shown when the text before and the text after both stand, whole, in the message of its commit. Placeholders
may be written out there, and line breaks do not matter. With --net, each text's first form in the range is compared
with its last; a later commit may then show what the changing one did not.

Usage: python tools/changed_messages.py [--net] [RANGE, by default main..HEAD]
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache

WATCHED = ("compiler", "kaitoc", "rules", "runtime", "schemas/conditions", "schemas/training_config/descriptions.json")
NOT_SHOWN_TO_USERS = {"description", "raised"}  # keys of the JSON files
PLACEHOLDER = "{}"
MIN_LIKENESS_IN_FILE, MIN_LIKENESS = 0.4, 0.6  # below, one text went and another one came
MAX_VALUE_LENGTH = 80  # of what a commit message writes for a placeholder
_PROSE = re.compile(r"[a-z]{2,}[^a-z ]* [^ ]*[a-z]{2,}")
_MARKUP = re.compile(r"</?[a-z]+[ >]|\{ ?[a-z-]+:")  # HTML, CSS

Texts = dict[str, Counter[str]]  # by path


@dataclass(frozen=True, slots=True)
class Change:
    """A text before and after a commit, and whether the commit's message shows both."""

    path: str
    before: str
    after: str
    is_shown: bool

    def __str__(self) -> str:
        return f"{self.path}\n- {self.before}\n+ {self.after}"


class _Collector(ast.NodeVisitor):
    """Collects what of a module can reach a user: no docstrings but those of commands, nothing to compare with."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        decorators = [ast.unparse(each) for each in node.decorator_list]
        if any(".command(" in each or ".group(" in each for each in decorators):
            self.texts += (ast.get_docstring(node) or "").split("\n\n")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if not ast.unparse(node.func).startswith("re."):
            self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        for value in node.values:
            self.visit(value)

    def visit_Compare(self, node: ast.Compare) -> None:
        pass

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.texts.append(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.texts.append(_template(node))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self.texts.append(_template(node))
        if not self.texts[-1].replace(PLACEHOLDER, ""):
            self.generic_visit(node)


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_template, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    return PLACEHOLDER


def _texts_of_json(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        yield from _texts_of_json([value for key, value in node.items() if key not in NOT_SHOWN_TO_USERS])
    elif isinstance(node, list):
        for each in node:
            yield from _texts_of_json(each)


@cache
def texts_of(path: str, blob: str) -> tuple[str, ...]:
    """Read the sentences of a stored file, with `{}` for what is filled in; none for a file that is not there."""
    if not blob.strip("0") or not path.endswith((".py", ".json")):
        return ()
    content = git("cat-file", "blob", blob)
    if path.endswith(".json"):
        texts = [*_texts_of_json(json.loads(content))]
    else:
        collector = _Collector()
        collector.visit(ast.parse(content))
        texts = collector.texts
    joined = (" ".join(text.split()) for text in texts)
    return tuple(text for text in joined if _PROSE.search(text) and not _MARKUP.search(text))


def shows(message: str, *texts: str) -> bool:
    """Return whether a commit's message holds all texts whole, their placeholders as they are or written out."""
    for text in texts:
        parts = re.split(r"\{[^{}]*\}", text)
        pattern = f".{{0,{MAX_VALUE_LENGTH}}}?".join(map(re.escape, parts))
        if not all(part in message for part in parts) or not re.search(pattern, message):
            return False
    return True


def changes_of(commit: str) -> Iterator[Change]:
    """Yield the texts that a commit changes; moved ones did not change, and new ones have no form before."""
    message = message_of(commit)
    gone, come = _gone_and_come(commit)
    pairs = [
        (likeness, old, new, path)
        for path, texts in come.items()
        for new in texts
        for origin, old_texts in gone.items()
        for old in old_texts
        if (likeness := _likeness(old, new, MIN_LIKENESS_IN_FILE if origin == path else MIN_LIKENESS))
    ]
    used: set[tuple[str, str]] = set()
    for _, old, new, path in sorted(pairs, reverse=True):
        if not used & {("-", old), ("+", new)}:
            used |= {("-", old), ("+", new)}
            yield Change(path, old, new, shows(message, old, new))


def _gone_and_come(commit: str) -> tuple[Texts, Texts]:
    gone: Texts = {}
    come: Texts = {}
    for line in git("diff-tree", "-r", "--no-renames", f"{commit}^", commit, "--", *WATCHED).splitlines():
        state, path = line.split("\t")
        before, after = (Counter(texts_of(path, blob)) for blob in state.split()[2:4])
        gone[path], come[path] = before - after, after - before
    total_gone, total_come = (sum(texts.values(), Counter()) for texts in (gone, come))
    return _without(gone, total_come), _without(come, total_gone)


def _without(texts: Texts, moved: Counter[str]) -> Texts:
    return {path: Counter(text for text in counts if text not in moved) for path, counts in texts.items()}


def _likeness(old: str, new: str, least: float) -> float:
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    bounds = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
    return matcher.ratio() if all(bound() >= least for bound in bounds) else 0


def net_changes(commits: list[str]) -> Iterator[Change]:
    """Yield each text whose last form differs from its first; shown if messages lead from the first to the last."""
    histories: dict[str, tuple[str, ...]] = {}  # all forms of a text, by the last
    paths: dict[str, str] = {}
    for commit in commits:
        for change in changes_of(commit):
            histories[change.after] = (*histories.pop(change.before, (change.before,)), change.after)
            paths[change.after] = change.path
    messages = [message_of(commit) for commit in commits]
    today = _texts_at(commits[-1])
    for last, forms in histories.items():
        if last in today and last != forms[0]:
            yield Change(paths[last], forms[0], last, _leads_to_last(forms, messages))


def _leads_to_last(forms: tuple[str, ...], messages: list[str]) -> bool:
    reached = [forms[0]]
    for form in forms[1:]:
        if any(shows(message, form, earlier) for message in messages for earlier in reached):
            reached.append(form)
    return reached[-1] == forms[-1]


def _texts_at(commit: str) -> set[str]:
    rows = (line.split("\t") for line in git("ls-tree", "-r", commit, "--", *WATCHED).splitlines())
    return {text for state, path in rows for text in texts_of(path, state.split()[2])}


def message_of(commit: str) -> str:
    """Read a commit's message as one line."""
    return " ".join(git("show", "-s", "--format=%B", commit).split())


def git(*words: str) -> str:
    """Run git in the current folder's repository and return its output."""
    return subprocess.run(["git", *words], stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603, S607


def main() -> int:
    """Print what is not shown; return 1 if there is any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("range", nargs="?", default="main..HEAD")
    parser.add_argument("--net", action="store_true", help="compare first with last forms")
    options = parser.parse_args()
    commits = git("rev-list", "--reverse", options.range).split()
    found: list[tuple[str, Change]] = []
    if options.net:
        found = [("", change) for change in (net_changes(commits) if commits else ())]
    else:
        found = [(f"{commit[:8]} ", change) for commit in commits for change in changes_of(commit)]
    hidden = [(commit, change) for commit, change in found if not change.is_shown]
    for commit, change in hidden:
        print(f"{commit}{change}")
    print(f"{len(found)} texts changed in {len(commits)} commits; {len(hidden)} not shown in a commit message")
    return 1 if hidden else 0


if __name__ == "__main__":
    sys.exit(main())
