"""Several processes find what one does, and a process that fails is told of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.check.parallel import Part, WorkerError, check_in_parallel, num_processes, split_paths
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.manifest.objects import ManifestFile
from kaitoc.rules import FILE_RULES, JOB_RULES, OBJECT_RULES

CONFIG_MAP = """apiVersion: v1
kind: ConfigMap
metadata:
  name: tuning-{number}
data:
  training_config.yaml: |
    training_config:
      ModelConfig:
        torch_dtpe: bfloat16
"""
WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: ws-{number}
resource:
  instanceType: Standard_NC24ads_A100_v4
tuning:
  preset: {{name: phi-3-mini-128k-instruct}}
  method: lora
  config: tuning-{number}
  input: {{urls: ["https://example.com/data.json"]}}
  output: {{image: "registry.example.com/adapters/phi:0.0.1", imagePushSecret: push}}
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def engine(*file_rules: Any) -> Engine:
    return Engine(
        RuleSet(file_rules or FILE_RULES, JOB_RULES, OBJECT_RULES), Overrides(), SettingsFinder(isolated=True)
    )


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Return ConfigMaps first and their Workspaces last, so that partners fall to different processes."""
    for number in range(6):
        (tmp_path / f"a{number}.yaml").write_text(CONFIG_MAP.format(number=number))
        (tmp_path / f"b{number}.yaml").write_text(WORKSPACE.format(number=number))
    return sorted(str(path) for path in tmp_path.iterdir())


def check_together(files: list[str], processes: int, *file_rules: Any) -> Outcome:
    parts = [Part(paths, Outcome()) for paths in split_paths(files, processes)]
    check_in_parallel(engine(*file_rules), parts)
    checked = [one for part in parts for one in part.keeper.checked]
    return Outcome(dict(enumerate(checked)))


def told(outcome: Outcome) -> list[tuple[str, str, int]]:
    return sorted((finding.code, finding.source.path, finding.span.start) for finding in outcome.findings)


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_partners_are_found_across_processes(files: list[str], processes: int) -> None:
    alone, together = engine().check(files), check_together(files, processes)
    assert told(together) == told(alone)
    assert [job.workspace for job in together.jobs] == [job.workspace for job in alone.jobs]
    assert [(one.path, one.num_kaito_objects) for one in together.checked] == [
        (one.path, one.num_kaito_objects) for one in alone.checked
    ]


def test_what_cannot_be_read_is_told_by_every_process(files: list[str]) -> None:
    for path in (files[0], files[-1]):
        Path(path).write_bytes(b"\xff\xfe")
    assert len(check_together(files, 2).errors) == 2


def rule(check: Any) -> Any:
    return SimpleNamespace(CODE="KT999", NAME="test", SEVERITY=Severity.ERROR, FIX=None, SINCE="0", check=check)


def test_a_process_that_is_killed_is_an_error(files: list[str]) -> None:
    parent = os.getpid()

    def die(file: ManifestFile) -> Iterator[Any]:
        if os.getpid() != parent:
            os._exit(9)
        return iter(())

    with pytest.raises(WorkerError, match="ended early"):
        check_together(files, 2, rule(die))


def test_an_error_in_a_process_is_raised_in_the_calling_one(files: list[str]) -> None:
    parent = os.getpid()

    def fail(file: ManifestFile) -> Iterator[Any]:
        if os.getpid() != parent:
            raise ValueError("broken rule")
        return iter(())

    with pytest.raises(ValueError, match="broken rule"):
        check_together(files, 2, rule(fail))


def test_few_files_are_checked_by_one_process() -> None:
    assert num_processes(0, 100) == 1
    assert num_processes(4, 3) == 3


def test_a_suppression_of_what_only_another_process_finds_is_used(tmp_path: Path) -> None:
    text = CONFIG_MAP.format(number=0).replace("torch_dtpe: bfloat16", "torch_dtype: bfloat16")
    text += "      TrainingArguments:\n        save_strategy: epoch  # kaitoc: ignore[KT452] meant\n"
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text(WORKSPACE.format(number=0))
    files = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    together = check_together(files, 2)
    assert told(together) == told(engine().check(files))
    assert [one.num_suppressed for one in together.checked] == [1, 0]
    assert not [finding for finding in together.findings if finding.code in ("KT109", "KT452")]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_found_beside_the_given_files_is_told_once(tmp_path: Path, processes: int) -> None:
    (tmp_path / "partner.yaml").write_text(CONFIG_MAP.format(number=0))
    files = [str(tmp_path / f"user{number}.yaml") for number in range(2)]
    for number, path in enumerate(files):
        Path(path).write_text(WORKSPACE.format(number=0).replace("name: ws-0", f"name: ws-{number}"))
    found = [finding for finding in check_together(files, processes).findings if finding.code == "KT202"]
    assert [Path(finding.source.path).name for finding in found] == ["partner.yaml"]


def test_a_config_map_with_a_user_beside_it_is_checked_for_users_elsewhere_too(tmp_path: Path) -> None:
    text = CONFIG_MAP.format(number=0).replace("        torch_dtpe: bfloat16", "        torch_dtype: bfloat16")
    text += '      LoraConfig:\n        target_modules: ["qkv_proj"]\n'
    (tmp_path / "a.yaml").write_text(text + "---\n" + WORKSPACE.format(number=0))
    elsewhere = WORKSPACE.format(number=0).replace("ws-0", "ws-1").replace("phi-3-mini-128k-instruct", "falcon-7b")
    (tmp_path / "b.yaml").write_text(elsewhere)
    files = [str(tmp_path / name) for name in ("a.yaml", "b.yaml")]
    alone = {code for code, _, _ in told(engine().check(files[:1]))}
    found = told(check_together(files, 2))
    assert found == told(engine().check(files))
    assert {code for code, path, _ in found if path == files[0]} > alone


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_of_config_maps_equally_close_every_process_takes_the_same(tmp_path: Path, processes: int) -> None:
    """A process reads its own files first; the others run with the Workspace too, in the order of their files."""
    config_map = CONFIG_MAP.format(number=0).replace("ModelConfig:\n        torch_dtpe: bfloat16", "{section}")
    section = "TrainingArguments: {{max_length: {length}}}"
    for number, name in enumerate("abyz", 1):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f.yaml").write_text(config_map.format(section=section.format(length=number * 100)))
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "f.yaml").write_text(WORKSPACE.format(number=0))
    paths = [str(tmp_path / name / "f.yaml") for name in "abwyz"]

    alone, together = engine().check(paths), check_together(paths, processes)

    assert [job.seq_len for job in alone.jobs] == [100, 200, 300, 400]
    assert [job.seq_len for job in together.jobs] == [100, 200, 300, 400]
