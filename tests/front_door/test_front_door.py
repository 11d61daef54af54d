"""`import kaitoc`: light, typed, silent, and the same answers as the commands give."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import kaitoc
from kaitoc.compiler.cli import cli

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "demo.yaml"
HEAVY = ("torch", "transformers", "pydantic", "jsonschema", "click", "yaml", "typing")


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, list(arguments), input=stdin)


def printed_by(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "tuning.yaml"
    path.write_text(DEMO.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def test_importing_it_loads_nothing_heavy() -> None:
    new = "import sys; before = set(sys.modules); import kaitoc; print(*sorted(set(sys.modules) - before))"
    assert printed_by(new) == "kaitoc"


@pytest.mark.parametrize("call", ["kaitoc.check(path)", "kaitoc.check(path).to_json()", "str(kaitoc.check(path))"])
def test_a_check_loads_neither_the_command_line_nor_what_is_for_faults_only(call: str, tmp_path: Path) -> None:
    path = tmp_path / "clean.yaml"
    path.write_text("kind: Workspace\napiVersion: kaito.sh/v1beta1\nmetadata: {name: a}\n", encoding="utf-8")
    heavy = [name for name in HEAVY if name not in ("typing", "yaml")]
    code = f"import sys, kaitoc; path = {str(path)!r}; {call}; print([n for n in {heavy} if n in sys.modules])"
    assert printed_by(code) == "[]"


@pytest.mark.parametrize("name", kaitoc.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(kaitoc, name) is not None
    assert name in dir(kaitoc)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'chekc'"):
        kaitoc.chekc  # noqa: B018  # the access is what is tested


def test_the_names_of_the_type_checker_are_those_that_are_loaded() -> None:
    text = Path(kaitoc.__file__).read_text(encoding="utf-8")
    declared = re.findall(r"^    from kaitoc\.\S+ import (\w+) as \1\b", text, re.MULTILINE)
    assert sorted(declared) == sorted(kaitoc.__all__)


def test_the_module_runs_as_the_command() -> None:
    result = subprocess.run([sys.executable, "-m", "kaitoc", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"kaitoc {kaitoc.__version__}\n")


@pytest.mark.parametrize("options", [(), ("--strict",), ("--select", "KT4"), ("--kaito-version", "v0.10")])
def test_a_report_is_the_one_that_check_prints(options: tuple[str, ...], manifest: Path) -> None:
    keywords: dict[tuple[str, ...], dict[str, Any]] = {
        (): {},
        ("--strict",): {"strict": True},
        ("--select", "KT4"): {"select": ["KT4"]},
        ("--kaito-version", "v0.10"): {"assume": kaitoc.Overrides(kaito_version="v0.10")},
    }
    report = kaitoc.check(manifest, **keywords[options])
    printed = run("check", str(manifest), *options, "--format", "json")
    assert report.to_json() == printed.stdout
    assert report.ok == (printed.exit_code == 0)
    for format_name in ("text", "sarif", "junit"):
        shown = run("check", str(manifest), *options, "--format", format_name).stdout
        assert kaitoc.render(report, format_name) == shown


def test_a_text_is_checked_as_standard_input_is(manifest: Path) -> None:
    text = manifest.read_text(encoding="utf-8")
    printed = run("check", "-", "--stdin-filename", "mine", "--format", "json", stdin=text)
    assert kaitoc.check(text, text_name="mine").to_json() == printed.stdout


def test_several_paths_in_several_processes_make_one_report(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.yaml" for number in range(4)]
    for path in paths:
        path.write_text(DEMO.read_text(encoding="utf-8"), encoding="utf-8")
    printed = run("check", *map(str, paths), "--format", "json").stdout
    assert kaitoc.check(paths, num_processes=2).to_json() == printed
    assert kaitoc.check(paths).to_json() == printed


def test_a_baseline_leaves_known_findings_out(manifest: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "baseline.json")
    run("baseline", str(manifest), "-o", file)
    report = kaitoc.check(manifest, baseline=file)
    assert report.findings == ()
    assert report.to_json() == run("check", str(manifest), "--baseline", file, "--format", "json").stdout


def test_a_report_reads_as_a_list_of_findings_and_jobs(manifest: Path) -> None:
    report = kaitoc.check(manifest)
    lines = str(report).splitlines()
    for finding in report.findings:
        assert f"{finding.path}:{finding.line}:{finding.column}: {finding.code} " in str(report)
    assert any(line.startswith(f"{report.jobs[0].path}: {report.jobs[0].title}") for line in lines)
    assert lines[-1].startswith("Found ")


def test_a_compilation_is_what_compile_writes(manifest: Path, tmp_path: Path) -> None:
    result = kaitoc.compile(manifest, goal="memory")
    assert run("compile", str(manifest), "--goal", "memory", "-o", str(tmp_path / "out")).exit_code == 0
    assert result.files[0].text == (tmp_path / "out" / "tuning.yaml").read_text(encoding="utf-8")
    assert run("compile", str(manifest), "--goal", "memory", "--diff").stdout == result.diff
    for change in result.jobs[0].changes:
        assert change.what in str(result)


def test_a_compiled_text_is_that_of_the_file(manifest: Path) -> None:
    text = manifest.read_text(encoding="utf-8")
    assert kaitoc.compile(text).files[0].text == kaitoc.compile(manifest).files[0].text


def test_estimates_are_those_that_estimate_prints(manifest: Path) -> None:
    (of_manifest,) = kaitoc.estimate(manifest)
    assert of_manifest.to_json() == run("estimate", str(manifest), "--format", "json").stdout
    assert str(of_manifest) + "\n" == run("estimate", str(manifest)).stdout
    described = kaitoc.FineTune(kaitoc.architecture("phi-4"), method="qlora", rank=16)
    (estimate,) = kaitoc.estimate(described, assume=kaitoc.Overrides(gpu="A10-24GB", margin_percent=10))
    printed = run("estimate", "--model", "phi-4", "--method", "qlora", "--rank", "16", "--gpu", "A10-24GB",
                  "--margin", "10", "--format", "json")  # fmt: skip
    assert estimate.to_json() == printed.stdout
    assert estimate.ok == (printed.exit_code == 0)


def test_a_plan_is_that_of_a_dry_run(manifest: Path) -> None:
    plan = kaitoc.plan(manifest, model_path="model", data="data", output="out", merge=True, early_stopping=2)
    printed = run("run", str(manifest), "--model-path", "model", "--data", "data", "--output", "out", "--merge",
                  "--early-stopping", "2", "--dry-run")  # fmt: skip
    assert plan.to_json() == printed.stdout


def test_an_answer_is_that_of_admit() -> None:
    review = json.dumps({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "operation": "CREATE",
            "kind": {"group": "kaito.sh", "version": "v1beta1", "kind": "Workspace"},
            "object": {
                "apiVersion": "kaito.sh/v1beta1",
                "kind": "Workspace",
                "metadata": {"name": "a"},
                "resource": {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {}},
                "tuning": {"preset": {"name": "phi-4"}, "method": "qqlora", "input": {}, "output": {}},
            },
        },
    })  # fmt: skip
    answer = kaitoc.admit(review)
    response = json.loads(run("admit", stdin=review).stdout)["response"]
    assert not answer.is_allowed
    assert answer.message == response["status"]["message"]


def test_nothing_is_printed_or_written(
    manifest: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(manifest.parent)
    before = sorted(manifest.parent.rglob("*"))
    content = manifest.read_bytes()
    kaitoc.check(".")
    kaitoc.compile(manifest)
    kaitoc.estimate(manifest)
    kaitoc.plan(manifest, output="out")
    assert capfd.readouterr() == ("", "")
    assert sorted(manifest.parent.rglob("*")) == before
    assert manifest.read_bytes() == content


FAULTS: list[tuple[str, bytes, Callable[[Path], object], str, int | None, int | None]] = [
    ("a.yaml", b"kind: a\n  \xc3\xa9\xff\n", kaitoc.check, "SourceError", 2, 4),
    ("kaitoc.toml", b"\nselect = 1\n", lambda path: kaitoc.check(str(path.parent)), "SettingsError", 2, None),
    ("kaitoc.toml", b"select = [\n]]\n", kaitoc.load_settings, "SettingsError", 2, 2),
    ("b.json", b"{\n 1}", lambda path: kaitoc.check(DEMO, baseline=str(path)), "BaselineError", 2, 2),
    ("a.yaml", b"a: 1\n", lambda path: kaitoc.plan(path), "RunError", None, None),
]


@pytest.mark.parametrize(("name", "content", "call", "error_name", "line", "column"), FAULTS)
def test_an_error_knows_its_place(
    name: str, content: bytes, call: Callable[[Path], object], error_name: str, line: int | None, column: int | None,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(kaitoc.KaitocError) as caught:
        call(path)
    error = caught.value
    assert (type(error).__name__, error.path, error.line, error.column) == (error_name, str(path), line, column)
    assert str(path) in str(error)


def test_a_plan_that_no_run_can_follow_names_the_option(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    lines = DEMO.read_text(encoding="utf-8").splitlines(keepends=True)
    number = next(index for index, line in enumerate(lines) if "output_dir:" in line)
    indent = lines[number][: lines[number].index("output_dir")]
    lines[number] = f"{indent}output_dir: /etc\n"
    path.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(kaitoc.KaitocError) as caught:
        kaitoc.plan(path)
    assert (caught.value.path, caught.value.line) == (str(path), number + 1)


def test_a_goal_that_is_none_is_a_compile_error() -> None:
    with pytest.raises(kaitoc.CompileError, match="`speed` is not one of fit, latency, throughput, memory, cost"):
        kaitoc.compile(DEMO, goal="speed")


def test_a_model_that_no_catalog_has_is_an_assumption_error() -> None:
    with pytest.raises(kaitoc.AssumptionError, match="did you mean"):
        kaitoc.architecture("phi-44")


def test_a_revision_that_is_none_is_a_git_error(manifest: Path) -> None:
    with pytest.raises(kaitoc.GitError):
        kaitoc.check(manifest, changed_since="-x")
