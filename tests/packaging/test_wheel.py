"""The wheel holds everything the commands need and puts nothing of a common name into site-packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMON_NAMES = {"compiler", "rules", "runtime", "schemas", "tests"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: builds share a folder inside the checkout, where two at once get into each other's way."""
    folder = tmp_path_factory.mktemp("dist")
    checkout = folder / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(checkout)],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command from the wheel's files, with the checkout out of reach."""
    code = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in type(f).__module__ + repr(f)]; "
    code += f"sys.path.insert(0, {str(site)!r}); from kaitoc.compiler.cli import main; main()"
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=site,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_nothing_of_a_common_name_is_installed(site: Path) -> None:
    assert {path.name for path in site.iterdir()} & COMMON_NAMES == set()


@pytest.mark.slow
def test_schemas_catalogs_and_rule_pages_are_inside(site: Path) -> None:
    for pattern in ("schemas/**/*.json", "rules/*.md"):
        folder, _, rest = pattern.partition("/")
        expected = {path.relative_to(ROOT / folder) for path in (ROOT / folder).glob(rest)}
        found = {path.relative_to(site / "kaitoc" / folder) for path in (site / "kaitoc" / folder).glob(rest)}
        assert expected == found
        assert expected


@pytest.mark.slow
def test_every_package_of_the_checkout_is_inside(site: Path) -> None:
    for folder in ("compiler", "rules", "runtime", "schemas"):
        generators = ROOT / "schemas" / "generate"  # they import the compiler and write the checkout's own files
        expected = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py") if generators not in path.parents}
        found = {path.relative_to(site / "kaitoc") for path in (site / "kaitoc" / folder).rglob("*.py")}
        assert expected == found


@pytest.mark.slow
def test_the_installed_command_checks_a_manifest(site: Path) -> None:
    result = run(site, "check", str(ROOT / "examples" / "demo.yaml"), "--format", "concise")

    assert result.returncode == 0, result.stderr
    assert "KT401" in result.stdout


@pytest.mark.slow
def test_the_installed_command_explains_a_rule(site: Path) -> None:
    result = run(site, "explain", "KT401")

    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("# unmatched-target-modules (KT401)")
