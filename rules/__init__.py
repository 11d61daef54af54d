"""One module per rule; `RULES` is the whole rule set, ordered by code.

A rule is a module named after the fault it finds. Beside it lies a page of the same name, which is its documentation
and its test. Rules that judge servers (`_servers`) and runs of a plan without Kaito (`_cluster`) are loaded when there
is one, and `late` rules for the first job that has what they are about (`compiler/job/subjects.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaitoc.compiler.job.faults import FileRule, ObjectRule, Rule, UpdateRule
from kaitoc.compiler.job.job_rules import JobRules
from kaitoc.compiler.job.subjects import (
    DOES_NOT_FIT,
    EAGER,
    FLOAT32,
    GPU_WITHOUT_BFLOAT16,
    KNOWN_LENGTHS,
    NO_CHECKPOINTING,
    NO_INSTANCE_TYPE,
    NO_PRESET,
    NO_ROOT,
    NO_WORKSPACE,
    PRICES,
    SEVERAL_GPUS,
    TEMPLATE,
    TIGHT,
    UNKNOWN_SECTION,
    UNMAPPED_SECTION,
    lacks,
)
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.rules import (
    ambiguous_input,
    ambiguous_output,
    ambiguous_workspace,
    duplicate_key,
    excessive_rank,
    idle_gpu_memory,
    immutable_field,
    ineffective_option,
    invalid_workspace_name,
    invalid_yaml,
    late_config_map,
    method_quantization_mismatch,
    misplaced_section,
    missing_config_map,
    missing_mlm,
    needless_checkpointing,
    non_nvidia_instance_type,
    number_out_of_range,
    oversized_optimizer,
    padding_waste,
    refused_field,
    uncollatable_batch,
    unjudged_value,
    unknown_instance_type,
    unknown_method,
    unknown_word,
    unknown_workspace_key,
    unlearned_eos,
    unlearned_run,
    unmet_requirement,
    unnoticed_edit,
    unrecognized_file_type,
    unservable_adapter,
    unserved_kind,
    untunable_preset,
    unused_bfloat16,
    unused_suppression,
)
from kaitoc.rules._late import cluster_rules as cluster_rules
from kaitoc.rules._late import late
from kaitoc.rules._late import serving_rules as serving_rules

FILE_RULES: tuple[FileRule, ...] = (
    invalid_yaml,
    duplicate_key,
    unserved_kind,
    unjudged_value,
    ambiguous_workspace,
    late_config_map,
)

OBJECT_RULES: tuple[ObjectRule, ...] = (unknown_workspace_key, refused_field)
"""Rules that judge a Workspace, or a ConfigMap that a job uses, as the API server does."""

JOB_RULES = JobRules(
    late("missing_training_config", NO_ROOT),
    misplaced_section,
    late("unknown_section", UNKNOWN_SECTION),
    late("unknown_key", ArgProblemKind.UNKNOWN_KEY, ArgProblemKind.AMBIGUOUS_KEY, ArgProblemKind.HELP_KEY),
    late("wrong_type", ArgProblemKind.WRONG_TYPE),
    late("invalid_choice", ArgProblemKind.INVALID_CHOICE),
    late("null_value", ArgProblemKind.NULL_VALUE),
    late("empty_list", ArgProblemKind.EMPTY_LIST),
    late("nested_mapping", ArgProblemKind.NESTED_MAPPING),
    late("list_for_scalar", ArgProblemKind.LIST_FOR_SCALAR),
    late("dash_leading_value", ArgProblemKind.DASH_LEADING),
    late("abbreviated_key", ArgProblemKind.ABBREVIATED_KEY),
    late("hyphenated_key", ArgProblemKind.HYPHENATED_KEY),
    late("negated_flag", ArgProblemKind.NEGATED_FLAG),
    late(
        "invalid_json",
        ArgProblemKind.INVALID_JSON,
        "TrainingArguments.lr_scheduler_kwargs",
        "TrainingArguments.gradient_checkpointing_kwargs",
        "TrainingArguments.accelerator_config",
        "TrainingArguments.fsdp_config",
    ),
    late("unsettable_key", ArgProblemKind.UNREADABLE_ARGUMENT),
    late("overridden_key", ArgProblemKind.OVERRIDDEN),
    late("ignored_empty_mapping", ArgProblemKind.EMPTY_MAPPING),
    missing_config_map,
    late("unused_config_map", NO_WORKSPACE),
    method_quantization_mismatch,
    late("conflicting_quantization", "QuantizationConfig.load_in_8bit"),
    invalid_workspace_name,
    late("missing_instance_type", NO_INSTANCE_TYPE),
    late("several_nodes", "resource.count"),
    late("gpu_partition", "resource.partition"),
    unknown_method,
    late("miscased_method", TEMPLATE),
    late("missing_input", lacks("tuning.input")),
    late("missing_output", lacks("tuning.output")),
    ambiguous_input,
    ambiguous_output,
    late("unsafe_input_url", "tuning.input.urls"),
    late("invalid_image_reference", "tuning.input.image", "tuning.output.image"),
    late("missing_push_secret", "tuning.output.image"),
    late("missing_preset", NO_PRESET),
    untunable_preset,
    unknown_instance_type,
    non_nvidia_instance_type,
    late("missing_label_selector", lacks("resource.labelSelector")),
    late("ignored_match_expressions", "resource.labelSelector.matchExpressions"),
    late("ignored_preset_access", "tuning.preset.accessMode", "tuning.preset.presetOptions"),
    late("non_boolean_quantization", "QuantizationConfig.load_in_4bit", "QuantizationConfig.load_in_8bit"),
    late("refused_output_dir", "TrainingArguments.output_dir"),
    late("unmapped_section", UNMAPPED_SECTION),
    late("unmatched_target_modules", "LoraConfig.target_modules"),
    late("missing_target_modules", lacks("LoraConfig.target_modules")),
    late("partial_default_target_modules", lacks("LoraConfig.target_modules")),
    uncollatable_batch,
    late("uncollatable_eval_batch", "TrainingArguments.eval_strategy", "TrainingArguments.eval_on_start"),
    missing_mlm,
    late("masked_language_modeling", "DataCollator.mlm"),
    unlearned_eos,
    late("prompt_in_loss", "TrainingArguments.completion_only_loss", "TrainingArguments.assistant_only_loss"),
    late(
        "ignored_column_key",
        "DatasetConfig.context_column",
        "DatasetConfig.response_column",
        "DatasetConfig.messages_column",
    ),
    late("implicit_test_split", lacks("DatasetConfig.train_test_split")),
    late("extra_input_urls", "tuning.input.urls"),
    late("eight_bit_training", "QuantizationConfig.load_in_8bit"),
    late("ineffective_checkpointing_off", "TrainingArguments.gradient_checkpointing"),
    late("stuck_on_failure", "tuning.output.image"),
    late("relative_output_dir", "TrainingArguments.output_dir"),
    late("unmounted_output_dir", "TrainingArguments.output_dir"),
    late("occupied_output_dir", "TrainingArguments.output_dir"),
    late("missing_output_dir", lacks("TrainingArguments.output_dir")),
    late("untrainable_dtype", "ModelConfig.torch_dtype"),
    late("unknown_quant_type", "QuantizationConfig.bnb_4bit_quant_type"),
    late("unknown_compute_dtype", "QuantizationConfig.bnb_4bit_compute_dtype"),
    late("output_loading_info", "ModelConfig.output_loading_info"),
    late("adapted_lm_head", "LoraConfig.target_modules"),
    late("saved_lm_head", "LoraConfig.modules_to_save"),
    late("inference_mode", "LoraConfig.inference_mode"),
    late("refused_packing", "TrainingArguments.packing", "TrainingArguments.padding_free"),
    late("evaluation_without_data", "DatasetConfig.train_test_split"),
    late("kept_unused_columns", "TrainingArguments.remove_unused_columns"),
    late("conflicting_precision", "TrainingArguments.fp16"),
    late(
        "missing_package",
        "TrainingArguments.report_to",
        "TrainingArguments.optim",
        "TrainingArguments.deepspeed",
        "TrainingArguments.use_liger_kernel",
    ),
    late("missing_chat_template", lacks("ModelConfig.chat_template")),
    late("rank_below_one", "LoraConfig.r"),
    late("dropout_out_of_range", "LoraConfig.lora_dropout"),
    late("non_positive_learning_rate", "TrainingArguments.learning_rate"),
    late(
        "batch_below_one",
        "TrainingArguments.per_device_train_batch_size",
        "TrainingArguments.per_device_eval_batch_size",
    ),
    late("accumulation_below_one", "TrainingArguments.gradient_accumulation_steps"),
    late("split_out_of_range", "DatasetConfig.train_test_split"),
    late("max_length_below_one", "TrainingArguments.max_length"),
    late("ineffective_max_steps", "TrainingArguments.max_steps"),
    late("zero_epochs", "TrainingArguments.num_train_epochs"),
    late("doubled_mount_path", "DatasetConfig.dataset_path"),
    late("ambiguous_file_type", lacks("DatasetConfig.dataset_extension")),
    unrecognized_file_type,
    late("unknown_dataset_extension", "DatasetConfig.dataset_extension"),
    late("ignored_model_init_kwargs", "TrainingArguments.model_init_kwargs"),
    late("ignored_revision", "ModelConfig.revision"),
    late("unusable_layer_replication", "LoraConfig.layer_replication"),
    late("text_target_modules", "LoraConfig.target_modules"),
    late("mismatched_best_model", "TrainingArguments.load_best_model_at_end"),
    late("overwritten_text_field", "TrainingArguments.dataset_text_field"),
    late("unpushed_checkpoints", "TrainingArguments.save_strategy"),
    late("ignored_padding_option", "TrainingArguments.pad_token", "TrainingArguments.pad_to_multiple_of"),
    late("unmatched_layers", "LoraConfig.layers_to_transform"),
    late("zero_alpha", "LoraConfig.lora_alpha"),
    late("missing_template_file", "ModelConfig.chat_template", "TrainingArguments.chat_template_path"),
    late("mangled_chat_template", "ModelConfig.chat_template"),
    late("unsupported_bfloat16", GPU_WITHOUT_BFLOAT16),
    late("trusted_remote_code", "ModelConfig.trust_remote_code"),
    unmet_requirement,
    number_out_of_range,
    unknown_word,
    late("refused_scheduler_argument", "TrainingArguments.lr_scheduler_type", "TrainingArguments.lr_scheduler_kwargs"),
    late("refused_optimizer_argument", "TrainingArguments.optim_args"),
    late(
        "refused_nested_argument",
        "TrainingArguments.accelerator_config",
        "TrainingArguments.gradient_checkpointing_kwargs",
    ),
    late("unadaptable_module", "LoraConfig.modules_to_save", "LoraConfig.layers_pattern", "LoraConfig.use_dora"),
    unlearned_run,
    late("unscalable_adapter", "TrainingArguments.fp16"),
    ineffective_option,
    late("training_on_the_cpu", "TrainingArguments.use_cpu"),
    late("exposed_token", "TrainingArguments.hub_token"),
    late("unreachable_hub", "TrainingArguments.push_to_hub", "TrainingArguments.push_to_hub_model_id"),
    late("misplaced_dataset_path", "DatasetConfig.dataset_path"),
    late("web_page_as_data", "tuning.input.urls"),
    late("leaking_packing", "TrainingArguments.packing", "TrainingArguments.padding_free"),
    late("does_not_fit", DOES_NOT_FIT),
    late("tight_fit", TIGHT),
    late("unused_checkpointing", NO_CHECKPOINTING),
    late("eager_attention", EAGER),
    excessive_rank,
    late("float32_compute", "QuantizationConfig.load_in_4bit"),
    late("implicit_fp4", lacks("QuantizationConfig.bnb_4bit_quant_type")),
    late("float32_weights", FLOAT32),
    late("unpooled_gpu_memory", SEVERAL_GPUS),
    oversized_optimizer,
    late("implicit_truncation", lacks("TrainingArguments.max_length")),
    late("length_above_model", "TrainingArguments.max_length"),
    late("evaluation_spike", "TrainingArguments.eval_strategy"),
    late("dominating_logits", "TrainingArguments.loss_type"),
    late("fragmenting_lengths", KNOWN_LENGTHS),
    idle_gpu_memory,
    late("multiplied_batch", SEVERAL_GPUS),
    unused_bfloat16,
    needless_checkpointing,
    late("oversized_instance_type", PRICES),
    padding_waste,
    unservable_adapter,
)

UPDATE_RULES: tuple[UpdateRule, ...] = (immutable_field, unnoticed_edit)
"""Rules that compare two versions of an object; admission applies them."""

ENGINE_RULES: tuple[Rule, ...] = (unused_suppression,)
"""Rules without a check of their own: the engine itself finds their faults."""

RULES: tuple[Rule, ...]


def _all_rules() -> tuple[Rule, ...]:
    loaded_late = (*serving_rules(), *cluster_rules())
    rules = (*FILE_RULES, *OBJECT_RULES, *ENGINE_RULES, *JOB_RULES, *loaded_late, *UPDATE_RULES)
    return tuple(sorted(rules, key=lambda rule: rule.CODE))


if not TYPE_CHECKING:  # a type checker would take every misspelt name for one that is loaded

    def __getattr__(name: str) -> tuple[Rule, ...]:
        """Load `RULES` when it is asked for."""
        if name != "RULES":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals().setdefault(name, _all_rules())
