"""Jobs with equal runs share what follows from the run, and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides, resolve_assumptions
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.job.link import link_jobs
from kaitoc.compiler.job.run import BeyondRunError, is_first_of_run, memo_of_run, run_alone
from kaitoc.compiler.job.settings import DEFAULTS

MANIFEST = """# A run.
apiVersion: v1
kind: ConfigMap
metadata: {name: params}
data:
  training_config.yaml: |
    training_config:
      LoraConfig:
        r: 16
---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: tuning}
resource:
  instanceType: Standard_NC24ads_A100_v4
tuning:
  preset: {name: phi-4}
  method: lora
  config: params
  output: {image: registry.example.com/adapter:1}
"""
OF_OBJECTS = ("workspace", "config_map", "idle_workspaces", "may_name_unknown", "is_served")


def job_of(text: str = MANIFEST, **stated: Any) -> Job:
    library = Library()
    library.add_source(Source("run.yaml", text))
    (job,) = link_jobs(library.add_given("run.yaml"), library, resolve_assumptions(Overrides(**stated), DEFAULTS))
    return job


@pytest.mark.parametrize("other", [
    MANIFEST.replace("# A run.", "# The same one, further down.\n"),
    MANIFEST.replace("tuning}", "other}").replace("params", "of-another-name"),
    MANIFEST.replace("adapter:1", "adapter:2"),
    MANIFEST.replace("resource:", "resource:\n  labelSelector: {matchLabels: {app: tuning}}"),
])  # fmt: skip
def test_runs_are_equal_wherever_their_objects_stand_and_whatever_else_they_say(other: str) -> None:
    assert memo_of_run(job_of(other)) is memo_of_run(job_of())


@pytest.mark.parametrize("other", [
    MANIFEST.replace("r: 16", "r: 17"),
    MANIFEST.replace("phi-4", "phi-3-mini-128k-instruct"),
    MANIFEST.replace("method: lora", "method: qlora"),
    MANIFEST.replace("NC24ads", "NC48ads"),
])  # fmt: skip
def test_runs_of_other_configs_models_methods_and_gpus_differ(other: str) -> None:
    assert memo_of_run(job_of(other)) is not memo_of_run(job_of())


@pytest.mark.parametrize(
    "stated", [{"kaito_version": "v0.10"}, {"target": "bundled"}, {"model": "phi-4"}, {"seq_len_tokens": 512}], ids=str
)
def test_runs_that_are_judged_under_other_assumptions_differ(stated: dict[str, Any]) -> None:
    assert memo_of_run(job_of(**stated)) is not memo_of_run(job_of())


def test_a_job_without_a_config_has_a_run_of_its_own() -> None:
    alone = MANIFEST.partition("---\n")[2]

    assert memo_of_run(job_of(alone)) is not memo_of_run(job_of(alone))


def test_one_job_is_the_first_of_its_run_whenever_it_is_asked() -> None:
    text = MANIFEST.replace("r: 16", "r: 23")
    first, second = job_of(text), job_of(text)

    assert [is_first_of_run(job) for job in (first, second, first, second)] == [True, False, True, False]


@pytest.mark.parametrize("name", [*OF_OBJECTS, "manifest", "config_place"])
def test_a_run_alone_has_no_object_of_a_file(name: str) -> None:
    with pytest.raises(BeyondRunError):
        getattr(run_alone(job_of()), name)


def test_a_run_alone_answers_for_its_config_and_settings() -> None:
    job = job_of()
    alone = run_alone(job)

    assert (alone.integer("LoraConfig", "r", 0), alone.num_gpus, alone.model) == (16, 1, job.model)
    assert memo_of_run(alone) is memo_of_run(job)


def test_each_part_of_a_job_is_of_its_run_or_of_its_objects() -> None:
    of_the_run = {"config", "template", "preset", "model", "instance_type", "gpu", "num_gpus", "method", "assumptions"}

    assert {field.name for field in dataclasses.fields(Job)} == {*of_the_run, *OF_OBJECTS, "memo"}
