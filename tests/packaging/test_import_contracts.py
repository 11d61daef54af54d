"""The import contracts hold for the tree as it is, and each of them fails on an import that breaks it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("compiler", "rules", "runtime", "schemas")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The import package as `make lint` lays it out: links, so that a test may replace one file by its own."""
    package = tmp_path / "kaitoc"
    for name in PACKAGES:
        for path in (ROOT / name).rglob("*.py"):
            link = package / path.relative_to(ROOT)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    for path in (ROOT / "kaitoc").glob("*.py"):
        (package / path.name).symlink_to(path)
    return package


def plant(package: Path, file: str, statement: str) -> None:
    """Append a statement to a module of the package; the tree itself stays as it is."""
    path = package / file
    text = path.read_text(encoding="utf-8")
    path.unlink()
    path.write_text(f"{text}\n{statement}\n", encoding="utf-8")


def lint_imports(package: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", str(ROOT / "pyproject.toml")]
    environment = {**os.environ, "PYTHONPATH": ".", "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=package.parent, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip


def test_the_tree_keeps_its_contracts(package: Path) -> None:
    result = lint_imports(package)

    assert result.returncode == 0, result.stdout
    assert " 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("contract", "file", "statement", "named"),
    [
        (
            "Rooms import from the floors below only",
            "compiler/core/memo.py",
            "from kaitoc.compiler.cli import cli",
            "kaitoc.compiler.core.memo -> kaitoc.compiler.cli",
        ),
        (
            "Rooms import from the floors below only",
            "compiler/yaml/tree.py",
            "def late():\n    from kaitoc.compiler.manifest import objects",
            "kaitoc.compiler.yaml.tree -> kaitoc.compiler.manifest.objects",
        ),
        (
            "Rooms import from the floors below only",
            "compiler/report/model.py",
            "from kaitoc.checking import check",
            "kaitoc.compiler.report.model -> kaitoc.checking",
        ),
        (
            "Rooms of the runtime import from the floors below only",
            "runtime/data/files.py",
            "import kaitoc.runtime.launch.run",
            "kaitoc.runtime.data.files -> kaitoc.runtime.launch.run",
        ),
        (
            "No circles inside a room",
            "compiler/core/source.py",
            "from kaitoc.compiler.core.findings import Finding",
            "kaitoc.compiler.core",
        ),
        (
            "Only the runtime and the trace import torch",
            "compiler/job/memory.py",
            "import torch",
            "kaitoc.compiler.job.memory -> torch",
        ),
    ],
    ids=["upward", "upward inside a function", "upward to the front door", "upward in the runtime", "circle", "torch"],
)
def test_an_import_that_breaks_a_contract_is_named(
    package: Path, contract: str, file: str, statement: str, named: str
) -> None:
    plant(package, file, statement)

    result = lint_imports(package)

    assert result.returncode == 1
    assert f"{contract} BROKEN" in result.stdout
    assert named in result.stdout
