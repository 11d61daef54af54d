"""What Helm and kustomize rendered, by pipe: findings name the files it comes from, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kaitoc.compiler.cli import cli

TEMPLATE = """{{- if .Values.tuning.enabled }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-tuning
data:
  training_config.yaml: |
    training_config:
      LoraConfig:
        {{- with .Values.tuning.rank }}
        r: {{ . }}
        {{- end }}
        target_modules: ["q_proj", "o_proj"]
      TrainingArguments:
        {{- toYaml .Values.tuning.arguments | nindent 8 }}
{{- end }}
"""
RENDERED = """---
# Source: team/templates/service.yaml
apiVersion: v1
kind: Service
metadata:
  name: other
---
# Source: team/templates/tuning.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: demo-tuning
data:
  training_config.yaml: |
    training_config:
      LoraConfig:
        r: eight
        target_modules: ["q_proj", "o_proj"]
      TrainingArguments:
        output_dir: /mnt/results
        sede: 42
"""
OPTIONS = ("--model", "phi-3-mini-128k-instruct", "--gpu", "A100-80GB")


def check(text: str, *arguments: str) -> Result:
    command = ["check", "-", "--isolated", *OPTIONS, *arguments]
    return CliRunner().invoke(cli, command, input=text, env={"GITHUB_ACTIONS": ""})


def places(text: str) -> dict[str, str]:
    """Return where each code is found, as `path:line:column`."""
    found = json.loads(check(text, "--format", "json").stdout)["findings"]
    return {f["code"]: f"{f['file']}:{f['span']['start']['line']}:{f['span']['start']['column']}" for f in found}


@pytest.fixture
def chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A chart in a folder of another name than its own, as in a repository of charts."""
    templates = tmp_path / "charts" / "tuning-team" / "templates"
    templates.mkdir(parents=True)
    (templates.parent / "Chart.yaml").write_text("apiVersion: v2\nname: team\nversion: 1.0.0\n")
    (templates / "tuning.yaml").write_text(TEMPLATE)
    monkeypatch.chdir(tmp_path)
    return templates


def test_a_line_that_stands_in_the_template_is_found_there(chart: Path) -> None:
    assert places(RENDERED)["KT401"] == "charts/tuning-team/templates/tuning.yaml:13:9"


def test_a_line_with_a_value_filled_in_is_found_by_its_key(chart: Path) -> None:
    assert places(RENDERED)["KT203"] == "charts/tuning-team/templates/tuning.yaml:11:12"


def test_a_shell_that_pipes_with_crlf_changes_no_place(chart: Path) -> None:
    assert places(RENDERED.replace("\n", "\r\n")) == places(RENDERED)


def test_lines_that_only_values_hold_are_told_at_the_line_before_them(chart: Path) -> None:
    assert places(RENDERED)["KT202"].startswith("charts/tuning-team/templates/tuning.yaml:14:")


def test_inside_the_chart_the_path_is_that_of_the_template(chart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chart.parent)
    assert places(RENDERED)["KT401"] == "templates/tuning.yaml:13:9"


def test_without_the_template_lines_count_from_the_comment_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert places(RENDERED)["KT401"] == "team/templates/tuning.yaml:10:9"


def test_the_excerpt_is_the_templates(chart: Path) -> None:
    shown = check(RENDERED).stdout
    assert '13 |         target_modules: ["q_proj", "o_proj"]' in shown
    assert "12 |         {{- end }}" in shown


def test_the_origin_that_kustomize_notes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = RENDERED.replace("# Source: team/templates/tuning.yaml\n", "").replace(
        "  name: demo-tuning\n",
        "  name: demo-tuning\n  annotations:\n    config.kubernetes.io/origin: |\n      path: base/tuning.yaml\n",
    )
    assert places(text)["KT401"].startswith("base/tuning.yaml:")


def test_an_origin_in_another_repository_is_no_file_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tuning.yaml").write_text("of: something else\n")
    origin = "path: tuning.yaml\n      ref: main\n      repo: https://example.com/team/base\n"
    text = RENDERED.replace("# Source: team/templates/tuning.yaml\n", "").replace(
        "  name: demo-tuning\n",
        f"  name: demo-tuning\n  annotations:\n    config.kubernetes.io/origin: |\n      {origin}",
    )
    assert places(text)["KT401"].startswith("example.com/team/base/tuning.yaml:")


def test_a_path_out_of_the_folder_is_named_and_not_opened(chart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chart)
    (chart.parent / "secret.yaml").write_text('        target_modules: ["q_proj", "o_proj"]\npassword: x\n')
    shown = check(RENDERED.replace("team/templates/tuning.yaml", "../secret.yaml")).stdout
    assert "--> ../secret.yaml:10:9" in shown
    assert "password" not in shown


def test_input_that_names_no_files_keeps_its_name_and_fixes() -> None:
    text = RENDERED.replace("# Source: team/templates/tuning.yaml\n", "").replace("# Source: team", "# from team")
    found = json.loads(check(text, "--format", "json").stdout)["findings"]
    assert {finding["file"] for finding in found} == {"<stdin>"}
    assert any(finding["fix"] for finding in found)


def test_a_document_behind_one_that_names_its_file_keeps_the_inputs_name(chart: Path) -> None:
    text = RENDERED + "---\n" + RENDERED.partition("tuning.yaml\n")[2].replace("demo-tuning", "another")
    shown = check(text, "--select", "KT401", "--format", "concise").stdout
    assert [line.split(":")[0] for line in shown.splitlines()] == [
        "<stdin>",
        "charts/tuning-team/templates/tuning.yaml",
    ]


def test_a_file_on_disk_keeps_its_own_path(chart: Path) -> None:
    Path("rendered.yaml").write_text(RENDERED)
    arguments = ["check", "rendered.yaml", "--isolated", *OPTIONS, "--format", "concise"]
    lines = CliRunner().invoke(cli, arguments, env={"GITHUB_ACTIONS": ""}).stdout.splitlines()
    assert lines
    assert all(line.startswith("rendered.yaml:") for line in lines)


def test_fixing_standard_input_prints_the_text_and_writes_nothing(chart: Path) -> None:
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    result = check(RENDERED, "--fix", "--select", "KT401")
    assert result.stdout == RENDERED.replace('["q_proj", "o_proj"]', '["qkv_proj", "o_proj"]')
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_fixing_standard_input_under_the_name_of_a_file_leaves_the_file(tmp_path: Path) -> None:
    target = tmp_path / "tuning.yaml"
    target.write_text("kept: true\n")
    check(RENDERED, "--fix", "--stdin-filename", str(target))
    assert target.read_text() == "kept: true\n"


def test_what_is_left_after_fixing_standard_input_goes_to_standard_error(chart: Path) -> None:
    result = check(RENDERED, "--fix", "--format", "concise")
    assert "KT203" in result.stderr
    assert "KT203" not in result.stdout
    assert result.exit_code == 1


def test_what_comes_by_pipe_cannot_have_changed_since_a_revision() -> None:
    result = CliRunner().invoke(cli, ["check", "-", "--changed-since", "HEAD"], input=RENDERED)

    assert result.exit_code == 2
    assert "incompatible with standard input" in result.stderr
