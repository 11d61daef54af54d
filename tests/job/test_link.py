"""From manifests to jobs: partners, templates, models and GPUs, each value with its origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaitoc.compiler.catalog.releases import newest_release
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides, resolve_assumptions
from kaitoc.compiler.job.job import Assumptions, Job
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.job.link import link_jobs
from kaitoc.compiler.job.settings import DEFAULTS

CONFIG_MAP = """apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, namespace: NAMESPACE}
data:
  training_config.yaml: |
    training_config:
      LoraConfig:
        r: 16
"""
WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: ws, namespace: NAMESPACE}
resource:
  instanceType: Standard_NC96ads_A100_v4
tuning:
  preset: {name: phi-4}
  method: METHOD
  config: CONFIG
"""


def config_map(name: str = "cm", namespace: str = "a") -> str:
    return CONFIG_MAP.replace("NAMESPACE", namespace).replace("NAME", name)


def workspace(config: str = "cm", namespace: str = "a", method: str = "lora") -> str:
    return WORKSPACE.replace("NAMESPACE", namespace).replace("METHOD", method).replace("CONFIG", config)


def assumptions(**values: object) -> Assumptions:
    return resolve_assumptions(Overrides(**values), DEFAULTS)  # type: ignore[arg-type]  # the tests' own values


def jobs_of(text: str, library: Library | None = None, **values: object) -> list[Job]:
    library = library or Library()
    library.add_source(Source("x.yaml", text))
    return list(link_jobs(library.add_given("x.yaml"), library, assumptions(**values)))


def test_a_workspace_and_its_config_map_are_one_job() -> None:
    (job,) = jobs_of(f"{config_map()}---\n{workspace()}")

    assert job.config_map is not None
    assert job.integer("LoraConfig", "r", 0) == 16
    assert job.setting("LoraConfig", "r").is_stated
    assert job.setting("LoraConfig", "lora_dropout").origin == f"default of {newest_release().name}"


def test_the_instance_type_decides_gpu_and_number() -> None:
    (job,) = jobs_of(f"{config_map()}---\n{workspace()}")

    assert job.gpu is not None
    assert (job.gpu.value.name, job.num_gpus) == ("A100-80GB", 4)
    assert job.gpu.is_stated


def test_the_preset_decides_the_model() -> None:
    (job,) = jobs_of(f"{config_map()}---\n{workspace()}")

    assert job.model is not None
    assert job.model.value.name == "phi-4"


@pytest.mark.parametrize(("method", "is_quantized"), [("lora", False), ("qlora", True), ("QLoRA", True)])
def test_without_config_the_default_template_is_used(method: str, is_quantized: bool) -> None:
    (job,) = jobs_of(workspace(config='""', method=method))

    assert job.uses_template
    assert job.flag("QuantizationConfig", "load_in_4bit") is is_quantized
    assert job.config_place.source.path == "x.yaml"


def test_a_config_map_of_another_namespace_is_no_partner() -> None:
    jobs = jobs_of(f"{config_map(namespace='b')}---\n{workspace(namespace='a')}")

    assert [job.config_map is None for job in jobs] == [False, True]


def test_the_config_map_of_the_same_namespace_is_taken_among_several() -> None:
    texts = [config_map(namespace="b"), config_map(namespace="a"), workspace(namespace="a")]
    jobs = [job for job in jobs_of("---\n".join(texts)) if job.workspace is not None]

    assert jobs[0].config_map is not None
    assert jobs[0].config_map.ref.namespace == "a"


def test_the_config_map_of_the_same_file_goes_before_one_of_another() -> None:
    library = Library()
    for name, rank in (("a.yaml", "32"), ("z.yaml", "64")):
        library.add_source(Source(name, config_map().replace("r: 16", f"r: {rank}")))
        library.add_given(name)

    (job,) = (job for job in jobs_of(f"{config_map()}---\n{workspace()}", library) if job.workspace is not None)

    assert job.integer("LoraConfig", "r", 0) == 16


def test_a_lone_config_map_is_a_job_with_what_is_assumed() -> None:
    (job,) = jobs_of(config_map(), model="phi-3-mini-4k-instruct", gpu="T4")

    assert job.workspace is None
    assert job.model is not None
    assert job.model.origin == "--model"
    assert job.gpu is not None
    assert job.gpu.value.name == "T4"


def test_an_assumed_model_outranks_the_preset() -> None:
    (job,) = jobs_of(workspace(config='""'), model="phi-3-mini-4k-instruct")

    assert job.model is not None
    assert job.model.value.name == "phi-3-mini-4k-instruct"


def test_an_inference_workspace_is_no_job() -> None:
    text = "apiVersion: kaito.sh/v1beta1\nkind: Workspace\nmetadata: {name: i}\ninference: {preset: {name: phi-4}}\n"

    assert jobs_of(text) == []


def test_a_partner_in_another_given_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "cm.yaml").write_text(config_map())
    library = Library()
    library.add_given(str(tmp_path / "maps" / "cm.yaml"))

    (job,) = jobs_of(workspace(), library)

    assert job.config_map is not None


def test_a_broken_neighbour_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_bytes(b"\xff\xfe kaito.sh")
    (tmp_path / "ws.yaml").write_text(workspace())
    library = Library()

    (job,) = link_jobs(library.add_given(str(tmp_path / "ws.yaml")), library, assumptions())

    assert job.config_map is None
