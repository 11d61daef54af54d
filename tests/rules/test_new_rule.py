"""`make new-rule` writes a rule that passes the tests of all rules, and refuses what no rule can be called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kaitoc.rules import RULES

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("compiler", "rules", "runtime", "schemas")
COPIED = (*PACKAGES, "kaitoc", "tools", "tests/rules", "tests/cli", "docs/rules.md", "CHANGELOG.md", "pyproject.toml")
TAKEN = {rule.CODE for rule in RULES}
FREE = next(code for code in (f"KT4{number:02}" for number in range(99, 0, -1)) if code not in TAKEN)
TOUCHED = {"CHANGELOG.md", "docs/rules.md", "rules/__init__.py", "rules/some_fault.md", "rules/some_fault.py",
           "tests/cli/surface.json"}  # fmt: skip


class Tree:
    """A copy of the repository whose own packages are the ones imported, through the folder `names`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in COPIED:
            source, target = REPOSITORY / name, root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
        package = root / "names" / "kaitoc"
        shutil.move(root / "kaitoc", package)
        for name in PACKAGES:
            (package / name).symlink_to(root / name)

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the copy."""
        environment = {**os.environ, "PYTHONPATH": str(self.root / "names")}
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def texts(self) -> dict[str, str]:
        """Return the text of every file that is under version control."""
        files = (path for name in COPIED for path in ([self.root / name, *(self.root / name).rglob("*")]))
        return {
            path.relative_to(self.root).as_posix(): path.read_text(encoding="utf-8", errors="replace")
            for path in files
            if path.is_file() and path.suffix != ".pyc"
        }


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "repository")


@pytest.mark.slow
def test_a_new_rule_passes_the_tests_of_all_rules(tree: Tree) -> None:
    before = tree.texts()

    written = tree.python("tools/new_rule.py", "some-fault", FREE)

    assert written.returncode == 0, written.stderr
    after = tree.texts()
    assert {name for name in after if after[name] != before.get(name)} == TOUCHED
    assert after["CHANGELOG.md"].count(f"- New rule `some-fault` ({FREE}).\n") == 1
    wanted = f"{FREE} or unique or module_and_page or surface_is or index_is"
    files = ("tests/rules/test_rule_pages.py", "tests/rules/test_rule_index.py", "tests/cli/test_surface.py")
    tested = tree.python("-m", "pytest", "-vv", "-p", "no:randomly", "-p", "no:cacheprovider", "-k", wanted, *files)
    assert tested.returncode == 0, tested.stdout
    assert f"test_an_example_gives_the_findings_it_marks[{FREE}:13] PASSED" in tested.stdout
    assert "test_the_surface_is_the_one_written_down PASSED" in tested.stdout
    linted = tree.python("-m", "ruff", "check", "rules")
    assert linted.returncode == 0, linted.stdout
    formatted = tree.python("-m", "ruff", "format", "--check", "rules")
    assert formatted.returncode == 0, formatted.stdout


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("some-fault", "KT401", "the code KT401 is taken by unmatched-target-modules"),
        ("zero-alpha", FREE, "the name zero-alpha is taken by rules/zero_alpha.py"),
        ("some_fault", FREE, "the name must be words in lower case joined by dashes"),
        ("Some-fault", FREE, "the name must be words in lower case joined by dashes"),
        ("2-faults", FREE, "the name must be words in lower case joined by dashes"),
        ("import", FREE, "the name must be words in lower case joined by dashes"),
        ("../fault", FREE, "the name must be words in lower case joined by dashes"),
        ("no-fault", FREE, "the name must state the fault"),
        ("some-fault", "KT999", "the code must be one of KT1, KT2,"),
        ("some-fault", "KT49", "the code must be one of KT1, KT2,"),
        ("some-fault", "kt499", "the code must be one of KT1, KT2,"),
    ],
)
def test_a_name_or_code_that_no_rule_can_have_is_refused_in_one_line(name: str, code: str, reason: str) -> None:
    script = REPOSITORY / "tools" / "new_rule.py"
    module = REPOSITORY / "rules" / "some_fault.py"

    result = subprocess.run([sys.executable, str(script), name, code], capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert result.stderr.startswith(f"new-rule: {reason}")
    assert len(result.stderr.splitlines()) == 1
    assert not module.exists()
