"""What rules say, and of what they say nothing, where the examples of their pages do not show it."""

from __future__ import annotations

import pytest

from kaitoc.compiler.check.engine_options import EngineOptions, engine_of
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.source import Source

SERVER = """\
apiVersion: v1
kind: ConfigMap
metadata: {{name: ic}}
data:
  inference_config.yaml: |
    vllm:
      {option}
---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: serve{annotations}}}
resource: {{instanceType: {instance}, labelSelector: {{matchLabels: {{a: b}}}}}}
inference: {{preset: {{name: {preset}}}, config: ic}}
"""


TUNING = """\
apiVersion: v1
kind: ConfigMap
metadata: {{name: params}}
data:
  training_config.yaml: |
    training_config:
      DatasetConfig: {{dataset_extension: {extension}}}
---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: tune}}
resource: {{instanceType: Standard_NC24ads_A100_v4, labelSelector: {{matchLabels: {{a: b}}}}}}
tuning:
  preset: {{name: phi-3-mini-128k-instruct}}
  method: lora
  config: params
  input: {{urls: ["https://example.com/{name}"]}}
  output: {{volumeSource: {{persistentVolumeClaim: {{claimName: results}}}}}}
"""


def findings_in(text: str, code: str = "") -> list[Finding]:
    engine = engine_of(EngineOptions(isolated=True))
    engine.library.add_source(Source("file.yaml", text))
    return [finding for finding in engine.check(["file.yaml"]).findings if code in ("", finding.code)]


def findings(
    code: str, option: str, preset: str = "phi-4-mini-instruct", instance: str = "Standard_NC24ads_A100_v4",
    annotations: str = "",
) -> list[Finding]:  # fmt: skip
    return findings_in(SERVER.format(option=option, preset=preset, instance=instance, annotations=annotations), code)


@pytest.mark.parametrize(("size", "advised"), [(2, "one GPU"), (4, "one GPU"), (8, "one GPU")])
def test_the_number_of_gpus_that_is_advised_divides_the_heads(size: int, advised: str) -> None:
    """falcon-7b has 71 heads, which only one GPU holds."""
    (found,) = findings("KT711", f"tensor-parallel-size: {size}", "falcon-7b", "Standard_ND96asr_A100_v4")

    assert found.help == f"use an instance type with {advised}"


def test_a_length_that_vllm_does_not_read_is_not_missed_by_its_node_estimate() -> None:
    transformers = ", annotations: {kaito.sh/runtime: transformers}"

    assert len(findings("KT730", "max_model_len: 8192")) == 1
    assert findings("KT730", "max_model_len: 8192", annotations=transformers) == []


@pytest.mark.parametrize("value", ["!x json", "!x {a: b}"])
@pytest.mark.parametrize("key", ["dataset_extension", "shuffle_seed", "train_test_split"])
def test_a_value_that_is_not_plain_yaml_is_told_by_one_rule(key: str, value: str) -> None:
    """Conditions on the option ask for its value, which there is not."""
    text = TUNING.format(extension=value, name="rows.json").replace("dataset_extension", key)

    assert {finding.code for finding in findings_in(text)} & {"KT101", "KT203", "KT204"}


def test_dotted_keys_of_the_config_discard_the_whole_option_beside_them() -> None:
    both = "additional-config: '{\"a\": 1}'\n      additional-config.b: 2"

    (found,) = findings("KT721", both)

    assert found.message.startswith("`additional-config` is discarded: `additional-config.b` as a dotted argument")


@pytest.mark.parametrize(
    ("extension", "name", "is_wrong"),
    [("csv", "rows.json", True), ("json", "rows.json", False), ("json", "rows", False), ("json", "a.csv.json", False)],
)
def test_an_extension_is_wrong_where_the_name_says_one_other_type(extension: str, name: str, is_wrong: bool) -> None:
    said = [
        one for one in findings_in(TUNING.format(extension=extension, name=name), "KT445") if "type of" in one.message
    ]

    assert bool(said) == is_wrong


@pytest.mark.parametrize(("kwargs", "codes"), [("{min_lr: 1.0e-6}", {"KT207"}), ("{min: 1.0e-6}", {"KT207", "KT463"})])
def test_a_mapping_of_scheduler_arguments_is_judged_as_it_is_meant(kwargs: str, codes: set[str]) -> None:
    """The parser takes it apart, which KT207 tells with the JSON text as its fix: what is in it is no second fault."""
    given = f"TrainingArguments: {{lr_scheduler_type: cosine_with_min_lr, lr_scheduler_kwargs: {kwargs}}}"
    text = TUNING.format(extension="json", name="a.json").replace("DatasetConfig: {dataset_extension: json}", given)

    assert {one.code for one in findings_in(text)} & {"KT207", "KT463"} == codes


@pytest.mark.parametrize(
    ("written", "help_text", "is_fixable"),
    [
        ("lr_scheduler_tipe: cosine", "did you mean `lr_scheduler_type`?", True),
        ("lr_scheduler_tipe: cosnie", "did you mean `lr_scheduler_type`?", False),
        ("half_precision_backend: apex", "", False),
    ],
)
def test_a_key_is_renamed_only_to_one_that_takes_its_value(written: str, help_text: str, is_fixable: bool) -> None:
    text = TUNING.format(extension="json", name="rows.json").replace("DatasetConfig: {dataset_extension: json}",
                                                                     f"TrainingArguments: {{{written}}}")  # fmt: skip
    (found,) = findings_in(text, "KT202")

    assert (found.help, found.fix is not None) == (help_text, is_fixable)


def test_of_a_node_that_cannot_be_nothing_else_is_said() -> None:
    """T4 has no bfloat16, and Kaito would take several."""
    found = findings_in(
        SERVER.format(option="max-model-len: 2048", preset="phi-4", instance="g4dn.xlarge", annotations="")
    )

    assert {one.code for one in found if one.severity is not Severity.INFO} == {"KT714"}


def test_a_preset_that_was_dropped_is_told_with_the_last_release_that_has_it() -> None:
    (found,) = findings("KT351", "max-model-len: 2048", "falcon-7b-instruct")

    assert found.help == "the last release that does is v0.10"
