"""GPUs, instance types and Kaito releases."""

from __future__ import annotations

import pytest

from kaitoc.compiler.catalog.gpus import all_gpus, all_instance_types, custom_gpu, find_gpu, find_instance_type
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.catalog.releases import (
    all_releases,
    default_target_modules,
    default_template,
    find_release,
)
from kaitoc.compiler.manifest.training_config import SECTIONS, read_template
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.schemas import read_json

NAMES = ["T4", "A10-24GB", "A10G-24GB", "L4-24GB", "L40S-48GB", "A100-40GB", "A100-80GB", "H100-80GB", "H100-94GB",
         "H200-141GB"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_of_the_command_line_is_known(name: str) -> None:
    gpu = find_gpu(name.lower())

    assert gpu is not None
    assert 0.88 < gpu.memory_bytes / (gpu.nominal_gib * (1 << 30)) < 1
    assert gpu.bandwidth_bytes_per_second > 0


def test_gpu_names_are_unique() -> None:
    assert len({gpu.name.lower() for gpu in all_gpus()}) == len(all_gpus())


def test_an_instance_type_that_kaito_lists_has_the_memory_of_its_gpus() -> None:
    for instance in all_instance_types():
        if instance.gpu is not None and instance.last_release is None:
            assert abs(instance.gpu.nominal_gib * instance.num_gpus - instance.total_gib) <= 1


def test_an_instance_type_is_found_in_any_case() -> None:
    instance = find_instance_type("STANDARD_nc96ads_a100_V4")

    assert instance is not None
    assert instance.num_gpus == 4


def test_a_gpu_can_be_given_by_its_memory_alone() -> None:
    assert custom_gpu(24).memory_bytes == 24 << 30


@pytest.mark.parametrize("name", ["v0.12", "0.12", "v0.12.0", "V0.12.3"])
def test_a_release_is_found_with_and_without_patch(name: str) -> None:
    release = find_release(name)

    assert release is not None
    assert release.name == "v0.12"


def test_releases_are_in_order_and_have_their_stack() -> None:
    numbers = [release.number for release in all_releases()]

    assert numbers == sorted(numbers)
    for release in all_releases():
        assert find_stack(f"kaito-{release.name}").peft == release.peft
        assert all(find_model(preset) is not None for preset in release.tunable_presets)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_the_default_templates_are_read(method: str) -> None:
    config = read_template("template", default_template(method))

    assert [section.name for section in config.sections] == [
        name for name in ("ModelConfig", "QuantizationConfig", "LoraConfig", "TrainingArguments", "DataCollator",
                          "DatasetConfig") if name in SECTIONS
    ]  # fmt: skip
    option = config.option("QuantizationConfig", "load_in_4bit")
    assert option is not None
    assert option.plain is (method == "qlora")


def test_default_target_modules_were_read_from_the_peft_of_every_release() -> None:
    table = read_json("catalog/releases")["default_target_modules"]

    assert {release.peft for release in all_releases()} == {table["peft"]}


def test_default_target_modules_follow_the_preset_then_the_model_type() -> None:
    assert "gate_proj" in (default_target_modules("phi-3-mini-4k-instruct", "phi3") or ())
    assert default_target_modules("phi-4", "phi3") is None
    assert default_target_modules("mistral-7b", "mistral") == ("q_proj", "v_proj")
