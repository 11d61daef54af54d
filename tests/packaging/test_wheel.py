"""The wheel holds everything the commands need and puts nothing of a common name into site-packages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from documented import ELSEWHERE, EXIT_CODES, IN_AN_EMPTY_FOLDER, PREPARING, Documented, commands, write_files

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("compiler", "rules", "runtime", "schemas")
COMMON_NAMES = {"compiler", "rules", "runtime", "schemas", "tests"}
DOCUMENTED = [command for command in commands() if command.text not in ELSEWHERE]


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


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; what it depends on is that of this one, so that no network is needed."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", wheel], check=True, capture_output=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    here = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    return folder


def python(installed: Path, folder: Path, *arguments: str) -> str:
    """What a Python program of an environment prints."""
    command = [installed / "bin" / "python", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


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
def test_every_package_of_the_checkout_is_inside_and_no_generator_or_test(site: Path) -> None:
    expected = {path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    # Generators import the compiler and write the checkout's own files.
    expected = {path for path in expected if path.parts[:2] != ("schemas", "generate")}
    expected |= {path.relative_to(ROOT / "kaitoc") for path in (ROOT / "kaitoc").glob("*.py")}
    assert {path.relative_to(site / "kaitoc") for path in (site / "kaitoc").rglob("*.py")} == expected


@pytest.mark.slow
def test_every_package_is_marked_as_typed(site: Path) -> None:
    for package in ("", *FOLDERS):
        assert (site / "kaitoc" / package / "py.typed").is_file()


@pytest.mark.slow
def test_the_metadata_names_the_projects_pages(site: Path) -> None:
    (metadata,) = site.glob("kaitoc-*.dist-info/METADATA")
    assert "Project-URL: Documentation, https://kaitoc.readthedocs.io/\n" in metadata.read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_installed_wheel_checks_a_manifest_by_import(installed: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "demo.yaml", tmp_path / "tuning.yaml")
    printed = python(installed, tmp_path, "-c", "import kaitoc; print(kaitoc.check('tuning.yaml'))")
    assert "KT401" in printed
    assert printed.splitlines()[-1].startswith("Found ")
    assert python(installed, tmp_path, "-c", "import kaitoc; print(kaitoc.__file__)").startswith(str(installed))


@pytest.mark.slow
def test_an_installed_wheel_has_the_command_under_both_names(installed: Path, tmp_path: Path) -> None:
    script = subprocess.run([installed / "bin" / "kaitoc", "--version"], capture_output=True, text=True, check=True)
    assert python(installed, tmp_path, "-m", "kaitoc", "--version") == script.stdout


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


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


def run_all(installed: Path, runs: list[tuple[Documented, Path]], folder: Path) -> list[Ended]:
    """Run commands by an installation, each in its folder, where `examples/demo.yaml` is piped into it."""
    folder.mkdir()
    inputs = [
        {
            "words": command.words(), "variables": command.variables(), "folder": str(place),
            "stdin": str(ROOT / "examples" / "demo.yaml"),
            **{name: str(folder / f"{number}.{name}") for name in ("stdout", "stderr")},
        }
        for number, (command, place) in enumerate(runs)
    ]  # fmt: skip
    (folder / "runs.json").write_text(json.dumps(inputs), encoding="utf-8")
    script = ROOT / "tests" / "packaging" / "run_documented.py"
    codes = python(installed, folder, str(script), str(folder / "runs.json")).split()
    return [
        Ended(int(code), *(Path(run[name]).read_text(encoding="utf-8") for name in ("stdout", "stderr")))
        for code, run in zip(codes, inputs, strict=True)
    ]


@pytest.fixture(scope="module")
def ended(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """How each command of the pages ends in an installation, in a folder with the files that the pages name."""
    folder = tmp_path_factory.mktemp("documented")
    write_files(folder / "files")
    before = [(Documented(text, "", is_mention=False), folder / "files") for text in PREPARING]
    assert [run.code for run in run_all(installed, before, folder / "before")] == [0] * len(PREPARING)
    places = [folder / str(number) for number in range(len(DOCUMENTED))]
    for command, place in zip(DOCUMENTED, places, strict=True):
        if command.text in IN_AN_EMPTY_FOLDER:
            place.mkdir()
        else:
            shutil.copytree(folder / "files", place)
    runs = run_all(installed, list(zip(DOCUMENTED, places, strict=True)), folder / "runs")
    return {command.text: run for command, run in zip(DOCUMENTED, runs, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("command", DOCUMENTED, ids=lambda command: f"{command.page}: {command.text}")
def test_a_command_of_the_pages_does_what_it_says(command: Documented, ended: dict[str, Ended]) -> None:
    run = ended[command.text]

    assert run.code == EXIT_CODES.get(command.text, 0), run.stderr
    assert "Traceback" not in run.stderr
    if command.is_named_only:
        assert set(re.findall(r"--[a-z-]+", command.text)) <= set(re.findall(r"--[a-z-]+", run.stdout))


def test_what_the_pages_have_elsewhere_is_still_on_them() -> None:
    assert set(ELSEWHERE) | set(EXIT_CODES) | IN_AN_EMPTY_FOLDER <= {command.text for command in commands()}
    assert len(DOCUMENTED) >= 60
