"""A baseline accepts what was there and lets new findings through."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.check.baseline import Baseline, BaselineError, baseline_of, load_baseline, save_baseline
from kaitoc.compiler.cli import cli
from kaitoc.compiler.core.findings import Finding, ObjectRef, Severity
from kaitoc.compiler.core.source import Source, Span


def finding(folder: Path, start: int = 0, code: str = "KT402", pointer: str = "/data", name: str = "cm") -> Finding:
    source = Source(str(folder / "manifests" / "cm.yaml"), "x" * 100)
    owner = ObjectRef("ConfigMap", "tuning", name)
    return Finding(code, "name", Severity.ERROR, "message", source, Span(start, start + 1), pointer, owner)


def saved(folder: Path, *findings: Finding) -> Baseline:
    path = str(folder / "baseline.json")
    save_baseline(baseline_of(findings, path), path)
    return load_baseline(path)


def test_what_was_there_is_known(tmp_path: Path) -> None:
    known = finding(tmp_path)

    assert saved(tmp_path, known).new_among([known]) == []


def test_a_finding_that_moved_is_still_known(tmp_path: Path) -> None:
    moved = finding(tmp_path, start=50)

    assert saved(tmp_path, finding(tmp_path)).new_among([moved]) == []


@pytest.mark.parametrize("change", [{"code": "KT501"}, {"pointer": "/metadata"}, {"name": "other"}])
def test_another_code_pointer_or_object_is_new(tmp_path: Path, change: dict[str, str]) -> None:
    other = finding(tmp_path, **change)  # type: ignore[arg-type]  # mypy cannot see which keys there are

    assert saved(tmp_path, finding(tmp_path)).new_among([other]) == [other]


def test_more_findings_of_one_key_than_there_were_are_new(tmp_path: Path) -> None:
    first, second = finding(tmp_path, 0), finding(tmp_path, 9)

    assert saved(tmp_path, first).new_among([second, first]) == [second]


def test_paths_are_relative_to_the_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = saved(tmp_path, finding(tmp_path))
    (tmp_path / "manifests").mkdir()
    monkeypatch.chdir(tmp_path / "manifests")
    relative = Finding(
        "KT402", "name", Severity.ERROR, "message", Source("cm.yaml", ""), Span(0, 0), "/data",
        ObjectRef("ConfigMap", "tuning", "cm"),
    )  # fmt: skip

    assert baseline.new_among([relative]) == []


@given(st.permutations(range(6)))
def test_the_file_does_not_depend_on_the_order_of_findings(order: list[int]) -> None:
    folder = Path(os.getcwd())
    findings = [finding(folder, code=f"KT{number // 2}") for number in order]

    assert baseline_of(findings, "b.json") == baseline_of(sorted(findings, key=lambda item: item.code), "b.json")


def test_saving_what_was_loaded_gives_the_same_bytes(tmp_path: Path) -> None:
    baseline = saved(
        tmp_path, finding(tmp_path, code="KT9"), finding(tmp_path, 5), finding(tmp_path), finding(tmp_path)
    )
    before = (tmp_path / "baseline.json").read_bytes()

    save_baseline(baseline, str(tmp_path / "baseline.json"))

    assert (tmp_path / "baseline.json").read_bytes() == before
    assert [entry["count"] for entry in json.loads(before)["findings"]] == [3, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not a kaitoc baseline"),
        ('{"version": 2, "findings": []}', "not a kaitoc baseline"),
        ('{"version": 1, "findings": {}}', "not a kaitoc baseline"),
        ('{"version": 1, "findings": [3]}', r"findings\[0\]: expected the keys"),
        ('{"version": 1, "findings": [{"path": "a"}]}', r"findings\[0\]: expected the keys"),
        (
            '{"version": 1, "findings": [{"path": "a", "code": 1, "object": "", "pointer": "", "count": 1}]}',
            r"findings\[0\]: expected strings",
        ),
        (
            '{"version": 1, "findings": [{"path": "a", "code": "", "object": "", "pointer": "", "count": 0}]}',
            r"findings\[0\]: expected strings",
        ),
    ],
)
def test_a_file_that_is_no_baseline_says_so(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(BaselineError, match=message):
        load_baseline(str(path))


def test_a_missing_baseline_says_so(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="cannot be read"):
        load_baseline(str(tmp_path / "baseline.json"))


FAULTY = """apiVersion: v1
kind: ConfigMap
metadata: {name: tuning}
data:
  training_config.yaml: |
    training_config:
      ModelConfig:
        torch_dtpe: "bfloat16"
"""


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(cli, [*arguments, "--isolated"], input=text, env={"GITHUB_ACTIONS": ""})


def test_rendered_text_by_pipe_is_known_by_its_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rendered = f"---\n# Source: team/templates/tuning.yaml\n{FAULTY}"

    assert run("baseline", "-", text=rendered).exit_code == 0
    assert {key.path for key in load_baseline("kaitoc-baseline.json").counts} == {"team/templates/tuning.yaml"}
    assert run("check", "-", "--baseline", "kaitoc-baseline.json", text=rendered).exit_code == 0


@pytest.mark.parametrize("paths", [["manifests"], ["tuning.yaml", "manifests"], ["-", "tuning.yaml"]])
def test_a_slip_in_the_paths_leaves_the_baseline_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tuning.yaml").write_text(FAULTY)
    (tmp_path / "kaitoc-baseline.json").write_text("{}")

    assert run("baseline", *paths).exit_code == 2
    assert (tmp_path / "kaitoc-baseline.json").read_text() == "{}"


def adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder with two faulty files and a baseline of both."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(FAULTY)
    assert run("baseline").exit_code == 0


def test_a_check_says_what_of_the_baseline_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adopted(tmp_path, monkeypatch)
    (tmp_path / "a.yaml").write_text(FAULTY.replace("torch_dtpe", "torch_dtype"))
    result = run("check", "--baseline", "kaitoc-baseline.json")

    assert "kaitoc-baseline.json: 1 finding gone; `kaitoc baseline --update -o kaitoc-baseline.json`" in result.stderr
    assert "1 of the baseline gone" in result.stdout


def test_what_is_not_checked_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adopted(tmp_path, monkeypatch)

    assert "gone" not in run("check", "b.yaml", "--baseline", "kaitoc-baseline.json").stderr


def test_what_was_in_a_file_that_was_deleted_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adopted(tmp_path, monkeypatch)
    (tmp_path / "a.yaml").unlink()

    assert "5 findings gone" in run("check", "b.yaml", "--baseline", "kaitoc-baseline.json").stderr


def test_an_update_takes_out_what_is_gone_and_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adopted(tmp_path, monkeypatch)
    (tmp_path / "a.yaml").write_text(FAULTY.replace("torch_dtpe", "torch_dtype"))
    (tmp_path / "b.yaml").write_text(FAULTY + "---\n" + FAULTY.replace("name: tuning", "name: other"))
    result = run("baseline", "--update")

    assert result.stdout == "kaitoc-baseline.json: 9 findings, 1 removed\n"
    assert run("check", "--baseline", "kaitoc-baseline.json").exit_code == 1


def test_an_update_keeps_what_was_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adopted(tmp_path, monkeypatch)
    run("baseline", "--update", "b.yaml")

    assert load_baseline("kaitoc-baseline.json").num_findings == 10


def test_an_update_needs_a_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert run("baseline", "--update").exit_code == 2
