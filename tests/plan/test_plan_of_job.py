"""From manifests to plans: sections mean what they mean to Kaito, less its defects; its paths are mapped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.check.engine_options import all_rules
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.plan.of_job import plan_of
from kaitoc.compiler.plan.plan import Plan, PlanError

WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: tune
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector:
    matchLabels: {app: tune}
tuning:
  preset: {name: phi-3-mini-4k-instruct}
  method: %(method)s
  config: cm
  input:
    urls: [%(urls)s]
  output:
    volumeSource: {emptyDir: {}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: cm
data:
  training_config.yaml: |
    training_config:
      ModelConfig: {%(model)s}
      QuantizationConfig: {%(quantization)s}
      LoraConfig: {%(lora)s}
      TrainingArguments: {%(training)s}
      DatasetConfig: {%(dataset)s}
      DataCollator: {%(collator)s}
"""
SECTIONS = ("model", "quantization", "lora", "training", "dataset", "collator", "urls")


def plan_from(
    folder: Path,
    *,
    data: str | None = None,
    eval_data: str | None = None,
    model_path: str | None = None,
    output: str | None = None,
    **sections: str,
) -> Plan:
    path = folder / "job.yaml"
    texts = {**dict.fromkeys(SECTIONS, ""), "method": "lora", **sections}
    path.write_text(WORKSPACE % texts)
    engine = Engine(RuleSet(), Overrides(target="bundled"), SettingsFinder(isolated=True))
    engine.library.add_given(str(path))
    (job,) = engine.jobs_of(engine.library.load(str(path)))
    return plan_of(job, data=data, eval_data=eval_data, model_path=model_path, output=output)


def test_without_options_the_paths_are_those_of_kaito_s_image(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, training="output_dir: /mnt/results")

    assert plan.model.path == "/workspace/tfs/weights"
    assert plan.data.paths == ("/mnt/data",)
    assert plan.output.path == "/mnt/results"


def test_options_map_kaito_s_paths(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, data="d", model_path="m", output="o", training="output_dir: /mnt/results")

    assert (plan.model.path, plan.data.paths, plan.output.path) == ("m", ("d",), "o")


def test_urls_of_the_workspace_are_the_data_unless_data_is_given(tmp_path: Path) -> None:
    urls = "https://example.org/a.json, https://example.org/b.json"

    assert plan_from(tmp_path, urls=urls).data.paths == ("https://example.org/a.json", "https://example.org/b.json")
    assert plan_from(tmp_path, urls=urls, data="d").data.paths == ("d",)


@pytest.mark.parametrize(
    ("written", "data", "expected"),
    [
        ("data/sub/a.json", None, "/mnt/data/sub/a.json"),
        ("/data/a.json", "d", "d/a.json"),
        ("data", "d", "d"),
        ("other/a.json", "d", "d/other/a.json"),
    ],
)
def test_a_dataset_path_is_below_mnt_and_is_mapped_with_it(
    tmp_path: Path, written: str, data: str | None, expected: str
) -> None:
    assert plan_from(tmp_path, dataset=f"dataset_path: {written}", data=data).data.paths == (expected,)


def test_a_dataset_path_cannot_leave_mnt(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"job\.yaml: `dataset_path: \.\./etc` leaves /mnt"):
        plan_from(tmp_path, dataset="dataset_path: ../etc", data="d")


@pytest.mark.parametrize("written", ["../elsewhere", "/mnt/../etc", "/home/me/.ssh", "/mnt"])
def test_results_cannot_leave_mnt_unless_an_option_says_so(tmp_path: Path, written: str) -> None:
    with pytest.raises(PlanError, match="leaves /mnt; name a folder with --output"):
        plan_from(tmp_path, training=f"output_dir: {written}")
    assert plan_from(tmp_path, training=f"output_dir: {written}", output="/tmp/o").output.path == "/tmp/o"  # noqa: S108


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"training": "fsdp: hybrid_shard"},
            "`fsdp: hybrid_shard`: write `fsdp: full_shard`; .* groups",
        ),
        ({"training": "fsdp: offload"}, "does not support `fsdp: offload`: write `fsdp: full_shard`$"),
        ({"training": "save_total_limit: 0"}, "`save_total_limit: 0` must be at least 1 for `kaitoc run`"),
        ({"training": "logging_steps: 0"}, "`logging_steps: 0.*` must be above 0 for `kaitoc run`"),
        ({"training": "dataloader_num_workers: -1"}, "must be at least 0"),
        ({"collator": "pad_to_multiple_of: 0"}, "`pad_to_multiple_of: 0` must be at least 1"),
        ({"training": "use_cpu: true"}, "takes its device from the command line"),
        ({"model": "torch_dtype: double"}, "loads no weights as `torch_dtype: double`"),
        ({"lora": "layers_to_transform: [0]"}, "`layers_to_transform` needs `target_modules`: name the modules"),
        ({"dataset": "dataset_path: ../etc"}, "`dataset_path: ../etc` leaves /mnt"),
        ({"dataset": "dataset_extension: webdataset"}, "`dataset_extension: webdataset` is not one of arrow"),
    ],
    ids=str,
)
def test_what_stops_a_run_before_it_starts_is_found_by_a_check(
    tmp_path: Path, sections: dict[str, str], message: str
) -> None:
    with pytest.raises(PlanError, match=message) as refusal:
        plan_from(tmp_path, **sections)
    engine = Engine(all_rules(), Overrides(target="bundled"), SettingsFinder(isolated=True))
    found = [one for one in engine.check([str(tmp_path / "job.yaml")]).findings if one.code == "KT478"]

    assert [(one.line, one.column) for one in found] == [(refusal.value.line, refusal.value.column)]
    assert found[0].message in str(refusal.value)


def test_a_relative_output_is_below_the_working_folder(tmp_path: Path) -> None:
    assert plan_from(tmp_path, training="output_dir: results/one").output.path == "results/one"


def test_a_plan_holds_no_secret_for_it_is_printed_and_put_into_config_maps(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, training="hub_token: hf_SECRET, hub_model_id: a/b, eos_token: </s>")

    assert plan.training.extra_training_arguments == {"hub_model_id": "a/b", "eos_token": "</s>"}


@pytest.mark.parametrize(
    ("training", "dataset", "words"),
    [
        ("warmup_ratio: -0.5", "", "`warmup_ratio: -0.5` must be 0 or above"),
        ("seed: -1", "", "`seed`: expected a number of at least 0"),
        ("", "shuffle_seed: -1", "`shuffle_seed`: expected a number of at least 0"),
    ],
)
def test_a_number_that_no_library_takes_is_refused_by_the_name_it_has(
    tmp_path: Path, training: str, dataset: str, words: str
) -> None:
    with pytest.raises(PlanError, match=re.escape(words)):
        plan_from(tmp_path, training=training, dataset=dataset)


def test_no_rows_are_held_out_that_nothing_evaluates(tmp_path: Path) -> None:
    assert plan_from(tmp_path).data.train_fraction == 1.0
    assert plan_from(tmp_path, training="eval_strategy: epoch").data.train_fraction == 0.8
    assert plan_from(tmp_path, dataset="train_test_split: 0.9").data.train_fraction == 0.9


def test_data_for_evaluation_leaves_all_rows_to_train_on(tmp_path: Path) -> None:
    data = plan_from(tmp_path, training="eval_strategy: epoch", eval_data="held_out.jsonl").data

    assert (data.eval_paths, data.train_fraction) == (("held_out.jsonl",), 1.0)


def test_a_share_and_data_for_evaluation_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(
        PlanError, match="`train_test_split` holds out rows for evaluation, and --eval-data names others"
    ):
        plan_from(tmp_path, dataset="train_test_split: 0.9", eval_data="held_out.jsonl")


def test_named_columns_are_planned(tmp_path: Path) -> None:
    asked = plan_from(tmp_path, dataset="context_column: question, response_column: answer").data
    text = plan_from(tmp_path, dataset="response_column: body").data
    chat = plan_from(tmp_path, dataset="messages_column: chat").data

    assert (asked.prompt_column, asked.completion_column, asked.text_column) == ("question", "answer", None)
    assert text.text_column == "body"
    assert chat.messages_column == "chat"


def test_a_text_field_of_the_training_arguments_is_planned(tmp_path: Path) -> None:
    assert plan_from(tmp_path, training="dataset_text_field: body").data.text_column == "body"


def test_columns_that_are_not_named_are_left_to_the_data(tmp_path: Path) -> None:
    data = plan_from(tmp_path).data

    assert (data.text_column, data.prompt_column, data.completion_column, data.messages_column) == (None,) * 4


@pytest.mark.parametrize(("written", "expected"), [("jsonl", "json"), (".json", "json"), ("parquet", "parquet")])
def test_a_dataset_extension_is_read_with_or_without_dot(tmp_path: Path, written: str, expected: str) -> None:
    assert plan_from(tmp_path, dataset=f"dataset_extension: {written}").data.format == expected


def test_an_unknown_dataset_extension_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="`dataset_extension: xml` is not one of"):
        plan_from(tmp_path, dataset="dataset_extension: xml")


@pytest.mark.parametrize(
    ("quantization", "method"),
    [("", "none"), ("load_in_4bit: true", "fp4"), ("load_in_4bit: true, bnb_4bit_quant_type: nf4", "nf4"),
     ("load_in_8bit: true", "int8")],
)  # fmt: skip
def test_quantization_is_what_the_section_says(tmp_path: Path, quantization: str, method: str) -> None:
    assert plan_from(tmp_path, quantization=quantization, method="qlora").quantization.method == method


def test_an_unknown_compute_type_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="`bnb_4bit_compute_dtype: bf16` is not one of float32, float16, bfloat16"):
        plan_from(tmp_path, quantization="load_in_4bit: true, bnb_4bit_compute_dtype: bf16")


def test_remote_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="`trust_remote_code` is not supported"):
        plan_from(tmp_path, model="trust_remote_code: true")


@pytest.mark.parametrize("written", ["", "target_modules: all-linear"])
def test_without_named_modules_every_linear_layer_is_trained(tmp_path: Path, written: str) -> None:
    lora = plan_from(tmp_path, lora=written).lora

    assert lora is not None
    assert lora.target_modules is None


def test_lora_options_reach_the_plan_by_peft_s_names(tmp_path: Path) -> None:
    lora = plan_from(tmp_path, lora="r: 4, lora_alpha: 16, use_rslora: true, target_modules: [qkv_proj]").lora

    assert lora is not None
    assert (lora.r, lora.lora_alpha, lora.use_rslora, lora.target_modules) == (4, 16, True, ("qkv_proj",))


def test_training_arguments_are_those_of_the_bundled_libraries(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, training="learning_rate: 1e-4, per_device_train_batch_size: 2, max_length: 64")

    assert plan.training.learning_rate == 1e-4
    assert plan.training.per_device_train_batch_size == 2
    assert plan.data.max_length == 64
    assert plan.training.gradient_checkpointing is True


def test_arguments_without_a_field_of_their_own_are_kept(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, training="adam_beta2: 0.95, neftune_noise_alpha: 5, report_to: none")

    assert plan.training.extra_training_arguments == {"adam_beta2": 0.95, "neftune_noise_alpha": 5.0}
    assert plan.training.report_to == ()


def test_a_mapping_stays_the_json_text_that_the_runtime_reads(tmp_path: Path) -> None:
    scheduler = "lr_scheduler_type: cosine_with_min_lr, lr_scheduler_kwargs: '{\"min_lr_rate\": 0.1}'"

    plan = plan_from(tmp_path, training=scheduler)

    assert plan.training.extra_training_arguments == {"lr_scheduler_kwargs": '{"min_lr_rate": 0.1}'}


def test_prompts_carry_no_loss_unless_the_manifest_says_so(tmp_path: Path) -> None:
    assert plan_from(tmp_path).data.completion_only_loss is None
    assert plan_from(tmp_path, training="completion_only_loss: false").data.completion_only_loss is False


def test_padding_is_taken_from_either_section(tmp_path: Path) -> None:
    assert plan_from(tmp_path, collator="pad_to_multiple_of: 8").data.pad_to_multiple_of == 8
    assert plan_from(tmp_path).data.pad_to_multiple_of is None


def test_a_value_that_no_run_can_have_is_named_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"job\.yaml: `r`"):
        plan_from(tmp_path, lora="r: 0")


def test_the_plan_holds_the_prediction_and_where_it_comes_from(tmp_path: Path) -> None:
    plan = plan_from(tmp_path)

    assert plan.predicted is not None
    assert plan.predicted.weights > 7_000_000_000
    assert (plan.provenance.workspace, plan.provenance.config_map) == ("tune", "cm")
    assert plan.provenance.gpu == "A100-80GB"
