"""Several processes find what one does, and a process that fails is told of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaitoc.compiler.assumptions import Overrides
from kaitoc.compiler.engine import Engine, Outcome, RuleSet
from kaitoc.compiler.findings import Severity
from kaitoc.compiler.manifests import ManifestFile
from kaitoc.compiler.parallel import WorkerError, check_in_parallel, num_processes
from kaitoc.compiler.report import text
from kaitoc.compiler.settings import SettingsFinder
from kaitoc.rules import FILE_RULES, JOB_RULES

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
    return Engine(RuleSet(file_rules or FILE_RULES, JOB_RULES), Overrides(), SettingsFinder(isolated=True))


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Return ConfigMaps first and their Workspaces last, so that partners fall to different processes."""
    for number in range(6):
        (tmp_path / f"a{number}.yaml").write_text(CONFIG_MAP.format(number=number))
        (tmp_path / f"b{number}.yaml").write_text(WORKSPACE.format(number=number))
    return sorted(str(path) for path in tmp_path.iterdir())


def told(outcome: Outcome) -> list[tuple[str, str, int]]:
    return sorted((finding.code, finding.source.path, finding.span.start) for finding in outcome.findings)


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_partners_are_found_across_processes(files: list[str], processes: int) -> None:
    alone, together = engine().check(files), check_in_parallel(engine(), files, processes)
    assert told(together) == told(alone)
    assert [job.workspace for job in together.jobs] == [job.workspace for job in alone.jobs]
    assert (together.files, together.num_kaito_objects) == (alone.files, alone.num_kaito_objects)


def test_what_cannot_be_read_is_told_by_every_process(files: list[str]) -> None:
    for path in (files[0], files[-1]):
        Path(path).write_bytes(b"\xff\xfe")
    assert len(check_in_parallel(engine(), files, 2).errors) == 2


def rule(check: Any) -> Any:
    return SimpleNamespace(CODE="KT999", NAME="test", SEVERITY=Severity.ERROR, FIX=None, SINCE="0", check=check)


def test_a_process_that_is_killed_is_an_error(files: list[str]) -> None:
    parent = os.getpid()

    def die(file: ManifestFile) -> Iterator[Any]:
        if os.getpid() != parent:
            os._exit(9)
        return iter(())

    with pytest.raises(WorkerError, match="ended early"):
        check_in_parallel(engine(rule(die)), files, 2)


def test_an_error_in_a_process_is_raised_in_the_calling_one(files: list[str]) -> None:
    parent = os.getpid()

    def fail(file: ManifestFile) -> Iterator[Any]:
        if os.getpid() != parent:
            raise ValueError("broken rule")
        return iter(())

    with pytest.raises(ValueError, match="broken rule"):
        check_in_parallel(engine(rule(fail)), files, 2)


def test_few_files_are_checked_by_one_process() -> None:
    assert num_processes(0, 100) == 1
    assert num_processes(4, 3) == 3


def test_the_text_of_what_is_found_is_made_where_it_is_found(files: list[str]) -> None:
    outcome = check_in_parallel(engine(), files, 2, text.show)
    assert outcome.shown == {finding.sort_key: text.show(finding) for finding in engine().check(files).findings}
