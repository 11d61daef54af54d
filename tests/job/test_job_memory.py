"""Jobs whose configs have one text share what follows from it, and nothing that does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.releases import find_release, newest_release
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides, resolve_assumptions
from kaitoc.compiler.job.job import Assumptions, Job, Target
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.job.link import link_jobs
from kaitoc.compiler.job.memory import (
    attention_of,
    footprint_of,
    footprint_on,
    seq_len_of,
    weight_dtype_of,
    workload_of,
)
from kaitoc.compiler.job.settings import DEFAULTS
from kaitoc.compiler.job.summarize import summarize
from kaitoc.compiler.memory.workload import Attention, Dtype

CONFIG = """training_config:
        QuantizationConfig: {{load_in_4bit: true, bnb_4bit_quant_type: nf4}}
        LoraConfig: {{r: {rank}}}
        TrainingArguments: {{per_device_train_batch_size: 1{length}}}
"""
MANIFEST = """apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}}}
data:
  training_config.yaml: |
      {config}---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: {name}}}
resource: {{instanceType: {instance}}}
tuning:
  preset: {{name: {preset}}}
  method: qlora
  config: {name}
"""
ASSUMPTIONS = Assumptions(newest_release())


def job(
    name: str = "a",
    preset: str = "phi-3-mini-128k-instruct",
    instance: str = "Standard_NC24ads_A100_v4",
    rank: int = 8,
    assumptions: Assumptions = ASSUMPTIONS,
    max_length: int | None = 1024,
    config: str = CONFIG,
) -> Job:
    config = config.format(rank=rank, length="" if max_length is None else f", max_length: {max_length}")
    text = MANIFEST.format(name=name, preset=preset, instance=instance, config=config)
    library = Library()
    library.add_source(Source(f"{name}.yaml", text))
    (found,) = link_jobs(library.add_given(f"{name}.yaml"), library, assumptions)
    return found


def test_jobs_that_differ_in_name_share_their_training_step() -> None:
    assert workload_of(job("a")) is workload_of(job("a-longer-name"))


@pytest.mark.parametrize(
    "other",
    [
        {"preset": "phi-4"},
        {"rank": 16},
        {"instance": "Standard_NC96ads_A100_v4"},
        {"assumptions": replace(ASSUMPTIONS, target=Target.BUNDLED)},
        {"assumptions": replace(ASSUMPTIONS, seq_len_tokens=512)},
    ],
    ids=["model", "text", "number of GPUs", "target", "assumed length"],
)
def test_jobs_that_differ_in_what_decides_a_step_do_not_share_it(other: dict[str, object]) -> None:
    assert workload_of(job()) != workload_of(job(**other))  # type: ignore[arg-type]  # see the parameters above
    assert footprint_of(job()) != footprint_of(job(**other))  # type: ignore[arg-type]  # as above


def test_a_default_that_depends_on_the_preset_s_name_is_not_shared() -> None:
    """Kaito's own defaults are for presets that begin with "phi-3"; PEFT's table decides for all others."""
    model = job().model
    assert model is not None
    assumptions = replace(ASSUMPTIONS, model=model.value)

    one, other = (workload_of(job(preset=preset, assumptions=assumptions)) for preset in ("phi-3-mini", "renamed"))

    assert one is not None
    assert other is None or one.lora != other.lora


def test_the_same_step_is_another_matter_on_another_gpu() -> None:
    large, small = find_gpu("A100-80GB"), find_gpu("V100-16GB")

    assert footprint_on(job(), large) != footprint_on(job(), small)


@pytest.mark.parametrize(("max_length", "num_tokens"), [(None, 1024), (512, 512), (2048, 2048), (2049, 2048)])
def test_sequences_are_as_long_as_max_length_and_the_model_s_positions_allow(
    max_length: int | None, num_tokens: int
) -> None:
    """falcon-7b has 2,048 positions."""
    found = job(preset="falcon-7b", max_length=max_length)
    workload = workload_of(found)

    assert seq_len_of(found) == num_tokens
    assert workload is not None
    assert workload.seq_len_tokens == num_tokens


def test_a_length_that_is_assumed_counts_as_it_is() -> None:
    assumptions = replace(ASSUMPTIONS, seq_len_tokens=4096)

    assert seq_len_of(job(preset="falcon-7b", max_length=512, assumptions=assumptions)) == 4096


def test_a_model_that_is_unknown_bounds_no_length() -> None:
    assert seq_len_of(job(preset="no-such-model", max_length=9000)) == 9000


@pytest.mark.parametrize(
    ("release", "target", "dtype"),
    [
        ("v0.8", Target.KAITO, Dtype.FLOAT32),
        ("v0.12", Target.KAITO, Dtype.BFLOAT16),
        ("v0.8", Target.BUNDLED, Dtype.BFLOAT16),
    ],
)
def test_weights_of_no_stated_type_are_loaded_as_the_runtime_s_transformers_does(
    release: str, target: Target, dtype: Dtype
) -> None:
    """Version 4 takes float32, version 5 the checkpoint's."""
    found = find_release(release)
    assert found is not None

    assert weight_dtype_of(job(assumptions=Assumptions(found, target=target))) is dtype


@pytest.mark.parametrize(("written", "counted"), [(2**63 - 1, 2**63 - 1), (2**63, 2**63 - 1), (-(2**70), -(2**63) + 1)])
def test_an_integer_past_64_bits_counts_as_the_last_within(written: int, counted: int) -> None:
    assert job(max_length=written).integer("TrainingArguments", "max_length", 1) == counted


def test_a_summary_names_both_objects_the_method_and_the_sizes() -> None:
    found = summarize(job())

    assert (found.workspace, found.configmap, found.method) == ("a", "a", "qlora")
    assert (found.model, found.gpu) == ("phi-3-mini-128k-instruct", "A100-80GB")
    assert (found.seq_len, found.batch) == (1024, 1)
    assert found.footprint == footprint_of(job())


def test_a_summary_of_a_config_alone_takes_the_method_from_its_quantization() -> None:
    library = Library()
    library.add_source(
        Source("a.yaml", MANIFEST.partition("---")[0].format(name="a", config=CONFIG.format(rank=8, length="")))
    )
    (found,) = link_jobs(library.add_given("a.yaml"), library, ASSUMPTIONS)

    assert (summarize(found).workspace, summarize(found).method) == ("", "qlora")


def test_a_summary_names_the_namespace_that_is_written() -> None:
    text = MANIFEST.format(
        name="a", preset="phi-4", instance="Standard_NC24ads_A100_v4", config=CONFIG.format(rank=8, length="")
    )
    library = Library()
    library.add_source(Source("a.yaml", text.replace("{name: a}", "{name: a, namespace: team}")))
    (found,) = link_jobs(library.add_given("a.yaml"), library, ASSUMPTIONS)

    assert (summarize(found).workspace, summarize(found).configmap) == ("team/a", "team/a")


@pytest.mark.parametrize(("stated", "in_settings", "margin"), [(None, None, 0.05), (None, 10, 0.1), (0, 10, 0.0)])
def test_a_margin_that_is_stated_goes_before_the_one_of_the_settings(
    stated: float | None, in_settings: float | None, margin: float
) -> None:
    settings = replace(DEFAULTS, margin_percent=in_settings)

    assert resolve_assumptions(Overrides(margin_percent=stated), settings).margin == pytest.approx(margin)


@pytest.mark.parametrize(
    ("stated", "in_settings", "nominal_gib"), [(None, None, None), (20.0, 30.0, 20.0), (None, 30.0, 30.0)]
)
def test_a_memory_that_is_stated_stands_for_a_gpu(
    stated: float | None, in_settings: float | None, nominal_gib: float | None
) -> None:
    settings = replace(DEFAULTS, gpu_memory_gib=in_settings)
    found = resolve_assumptions(Overrides(gpu_memory_gib=stated), settings).gpu

    assert (found.nominal_gib if found is not None else None) == nominal_gib


@pytest.mark.parametrize(
    ("target", "assumed", "attention"),
    [
        (Target.BUNDLED, None, Attention.SDPA),
        (Target.BUNDLED, "eager", Attention.EAGER),
        (Target.BUNDLED, "flash", Attention.FLASH),
        (Target.KAITO, "flash", Attention.SDPA),
    ],
)
def test_attention_is_as_assumed_where_the_runtime_can_choose_it(
    target: Target, assumed: str | None, attention: Attention
) -> None:
    assert attention_of(job(assumptions=replace(ASSUMPTIONS, target=target, attention=assumed))) is attention


UNQUANTIZED = """training_config:
        ModelConfig: {{{{torch_dtype: {dtype}}}}}
        LoraConfig: {{{{r: {{rank}}, target_modules: {targets}}}}}
        TrainingArguments: {{{{per_device_train_batch_size: 1{{length}}}}}}
"""


@pytest.mark.parametrize("dtype", ["float64", "double"])
def test_float64_is_priced_as_such_and_autocast_leaves_it_alone(dtype: str) -> None:
    asked = workload_of(job(config=UNQUANTIZED.format(dtype=dtype, targets="[qkv_proj]")))

    assert asked is not None
    assert (asked.dtype, asked.dtype.num_bytes, asked.autocast) == (Dtype.FLOAT64, 8, None)


def test_an_adapter_of_the_embedding_alone_has_a_price() -> None:
    plain, adapted = (
        footprint_of(job(config=UNQUANTIZED.format(dtype="bfloat16", targets=targets)))
        for targets in ("[qkv_proj]", "[qkv_proj, embed_tokens]")
    )
    alone = footprint_of(job(config=UNQUANTIZED.format(dtype="bfloat16", targets="[embed_tokens]")))

    assert plain is not None
    assert adapted is not None
    assert alone is not None
    assert alone.device_bytes < plain.device_bytes < adapted.device_bytes
