"""A value that is not known yet is unknown to every rule, estimate and pass; what is known beside it is judged."""

from __future__ import annotations

import pytest

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.compile.driver import compile_files
from kaitoc.compiler.compile.model import CompileRequest
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.memory import workload_of
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.job.summarize import summarize
from kaitoc.compiler.yaml.placeholders import UnknownValueError
from kaitoc.compiler.yaml.tree import Mapping, Scalar, walk
from kaitoc.rules import FILE_RULES, JOB_RULES

RIGHT = """apiVersion: v1
kind: ConfigMap
metadata:
  name: params
data:
  training_config.yaml: |
    training_config:
      ModelConfig:
        torch_dtype: bfloat16
        local_files_only: true
        device_map: auto
      QuantizationConfig:
        load_in_4bit: false
      LoraConfig:
        r: 8
        lora_alpha: 8
        lora_dropout: 0.0
        target_modules: [qkv_proj, o_proj]
      TrainingArguments:
        output_dir: /mnt/results
        save_strategy: epoch
        per_device_train_batch_size: 1
        max_length: 1024
      DataCollator:
        mlm: false
      DatasetConfig:
        shuffle_dataset: true
        train_test_split: 1
---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: tune
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector:
    matchLabels:
      app: tune
tuning:
  preset:
    name: phi-3-mini-128k-instruct
  method: lora
  config: params
  input:
    urls:
      - https://example.com/data/train.parquet
  output:
    image: registry.example.com/adapters:v1
    imagePushSecret: push
"""
FIXED = ("apiVersion", "kind")


def engine_of(text: str) -> Engine:
    engine = Engine(RuleSet(FILE_RULES, JOB_RULES), Overrides(), SettingsFinder(isolated=True))
    engine.library.add_source(Source("x.yaml", text))
    return engine


def findings_of(text: str) -> list[Finding]:
    return engine_of(text).check(["x.yaml"]).findings


def lines_with_values() -> list[int]:
    lines = RIGHT.splitlines()
    return [
        number
        for number, line in enumerate(lines)
        if (line.partition(": ")[2] or line.strip().startswith("- ")) and not line.startswith(FIXED) and "|" not in line
    ]


def with_placeholder(number: int, placeholder: str) -> str:
    lines = RIGHT.splitlines(keepends=True)
    key, colon, _ = lines[number].partition(": ")
    if lines[number].strip().startswith("- "):
        lines[number] = lines[number].partition("- ")[0] + f"- {placeholder}\n"
    else:
        lines[number] = f"{key}{colon}{placeholder}\n"
    return "".join(lines)


@pytest.mark.parametrize("placeholder", ["${VALUE}", "{{ .Values.value }}", "<VALUE>"])
@pytest.mark.parametrize("number", lines_with_values(), ids=lambda number: RIGHT.splitlines()[number].strip())
def test_no_rule_concludes_anything_from_a_placeholder(number: int, placeholder: str) -> None:
    before = {finding.code for finding in findings_of(RIGHT)}

    found = findings_of(with_placeholder(number, placeholder))

    assert [finding.code for finding in found if finding.code == "KT107"] == ["KT107"]
    assert {finding.code for finding in found} - {"KT107"} <= before | {"KT108"}
    assert all(finding.severity is Severity.INFO for finding in found if finding.code not in before)


@pytest.mark.parametrize("number", lines_with_values(), ids=lambda number: RIGHT.splitlines()[number].strip())
def test_no_pass_touches_a_placeholder(number: int) -> None:
    text = with_placeholder(number, "${VALUE}")
    request = CompileRequest(Overrides(), SettingsFinder(isolated=True), RuleSet(FILE_RULES, JOB_RULES))

    result = compile_files(["x.yaml"], request, [Source("x.yaml", text)])

    assert "${VALUE}" in result.files[0].text
    assert result.problems == ()


def test_a_section_that_is_not_known_hides_all_of_its_keys_and_no_others() -> None:
    text = RIGHT.replace("        mlm: false\n", "").replace("DataCollator:", "DataCollator: ${COLLATOR}")
    assert {finding.code for finding in findings_of(text)} & {"KT406", "KT407", "KT327", "KT201"} == set()

    wrong = text.replace("max_length: 1024", "max_seq_length: 1024")
    assert "KT202" in {finding.code for finding in findings_of(wrong)}


def test_a_key_is_judged_although_its_value_is_not_known() -> None:
    text = RIGHT.replace("max_length: 1024", "max_seq_length: ${LENGTH}")

    assert "KT202" in {finding.code for finding in findings_of(text)}


def test_an_estimate_of_an_unknown_rank_is_none() -> None:
    engine = engine_of(RIGHT.replace("r: 8", "r: ${RANK}"))
    (job,) = engine.jobs_of(engine.library.add_given("x.yaml"))

    assert workload_of(job) is None
    assert summarize(job).footprint is None
    assert job.value("LoraConfig", "lora_alpha") == 8
    with pytest.raises(UnknownValueError, match="RANK"):
        job.integer("LoraConfig", "r", 8)


def test_one_finding_tells_of_all_values_of_a_file() -> None:
    text = (
        RIGHT.replace("r: 8", "r: ${RANK}").replace("name: tune", "name: ${NAME}").replace(": lora\n", ": ${METHOD}\n")
    )
    (found,) = [finding for finding in findings_of(text) if finding.code == "KT107"]

    assert found.severity is Severity.INFO
    assert "2 more" in found.message
    assert len(found.related) == 2


def test_what_sops_wrote_gets_no_fix() -> None:
    text = RIGHT.replace("max_length: 1024", "max-length: 1024")
    sealed = text.replace("---\n", "sops:\n  mac: ENC[AES256_GCM,data:bWFj,iv:aXY=,tag:dGFn,type:str]\n---\n")

    assert any(finding.fix for finding in findings_of(text))
    assert all(
        finding.fix is None for finding in findings_of(sealed) if finding.object and finding.object.kind == "ConfigMap"
    )


def test_the_marks_of_a_text_stay_when_it_is_read_again_elsewhere() -> None:
    text = RIGHT.replace("r: 8", "r: ${RANK}")
    for padding in ("", "# moved\n"):
        engine = engine_of(padding + text)
        (job,) = engine.jobs_of(engine.library.add_given("x.yaml"))
        assert job.config is not None
        assert isinstance(job.config.document_root, Mapping)
        marked = [node for node in walk(job.config.document_root) if isinstance(node, Scalar) and node.placeholder]
        assert [node.placeholder for node in marked] == ["${RANK}"]
