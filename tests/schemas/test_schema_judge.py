from __future__ import annotations

import datetime

import pytest

from kaitoc.compiler.kaito.schema_judge import SchemaError, schema_errors

RELEASE = "v0.12"


def told(section: str, **options: object) -> SchemaError:
    (error,) = schema_errors({"training_config": {section: options}}, RELEASE)
    return error


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("LoraConfig", "r", 8.0, '8.0 is not a whole number, such as 8 or "8" (8.0 is refused)'),
        ("LoraConfig", "bias", "some", '"some" is not one of none, all, lora_only'),
        ("TrainingArguments", "save_strategy", False, "false is not one of no, steps, epoch, best"),
        (
            "TrainingArguments",
            "optim",
            "adam",
            '"adam" is not one of the 41 values this key takes, such as adamw_torch',
        ),
        ("TrainingArguments", "output_dir", 3, "3 is not of type string"),
        ("ModelConfig", "torch_dtype", "bf16", '"bf16" is not the name of a torch dtype, such as bfloat16'),
        (
            "LoraConfig",
            "loftq_config",
            "x",
            '"x" is not readable: the parser makes no mapping of text, so leave the key out',
        ),
    ],
)
def test_a_refused_value_is_told_with_what_is_taken(section: str, key: str, value: object, message: str) -> None:
    error = told(section, **{key: value})
    assert error.path == ("training_config", section, key)
    assert error.message == message


def test_a_long_list_of_choices_is_counted_rather_than_told() -> None:
    message = told("TrainingArguments", optim="adam").message
    assert message == '"adam" is not one of the 41 values this key takes, such as adamw_torch'


def test_an_unknown_key_is_told_at_the_key() -> None:
    assert told("LoraConfig", rank=8) == SchemaError(
        ("training_config", "LoraConfig", "rank"), "additionalProperties", "`rank` is not a key of `LoraConfig`"
    )


def test_an_unknown_section_is_told_at_the_section() -> None:
    (error,) = schema_errors({"training_config": {"TrainingConfig": {}}}, RELEASE)
    assert error.path == ("training_config", "TrainingConfig")


def test_both_quantizations_at_once_are_refused_as_the_webhook_does() -> None:
    error = told("QuantizationConfig", load_in_4bit=True, load_in_8bit=True)
    assert error.message == "`load_in_4bit` and `load_in_8bit` cannot both be true"


def test_a_missing_root_is_told() -> None:
    (error,) = schema_errors({"LoraConfig": {"r": 8}}, RELEASE)
    assert error.message == "`training_config` is missing"


def test_keys_beside_the_root_are_ignored_as_kaito_ignores_them() -> None:
    assert schema_errors({"training_config": {}, "LoraConfig": {"r": 8.0}}, RELEASE) == []


def test_all_faults_are_told_in_order_of_their_paths() -> None:
    document = {"training_config": {"LoraConfig": {"r": "x", "bias": 1}, "DataCollator": None}}
    paths = [error.path[1:] for error in schema_errors(document, RELEASE)]
    assert paths == [("DataCollator",), ("LoraConfig", "bias"), ("LoraConfig", "r")]


def test_values_that_json_lacks_are_judged_by_their_text() -> None:
    assert schema_errors({"training_config": {"ModelConfig": {"revision": datetime.date(2024, 5, 1)}}}, RELEASE) == []
    assert told("LoraConfig", r=datetime.date(2024, 5, 1)).keyword == "anyOf"


def test_text_that_begins_as_a_json_mapping_must_be_one() -> None:
    good = {"training_config": {"TrainingArguments": {"gradient_checkpointing_kwargs": '{"use_reentrant": false}'}}}
    assert schema_errors(good, RELEASE) == []
    assert told("TrainingArguments", gradient_checkpointing_kwargs="{use_reentrant: false}").keyword == "anyOf"


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(told("LoraConfig", r="x" * 10_000).message) < 200


def test_an_unknown_release_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        schema_errors({}, "v9.9")
