from __future__ import annotations

import config_documents
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from kaitoc.compiler.kaito.arguments import ArgProblemKind, parse_section
from kaitoc.compiler.kaito.schema_judge import schema_errors
from kaitoc.compiler.kaito.schema_tables import sections_valid
from kaitoc.schemas import load_schema

TEMPLATE = {
    "training_config": {
        "ModelConfig": {"torch_dtype": "bfloat16", "local_files_only": True, "device_map": "auto"},
        "QuantizationConfig": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        "LoraConfig": {"r": 8, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["qkv_proj", "o_proj"]},
        "TrainingArguments": {"output_dir": "/mnt/results", "save_strategy": "no", "per_device_train_batch_size": 1},
        "DataCollator": {"mlm": True},
        "DatasetConfig": {"shuffle_dataset": True, "train_test_split": 1},
    }
}
WEBHOOK_KEYS = {"load_in_4bit", "load_in_8bit", "output_dir"}

_many = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("release", config_documents.RELEASES)
def test_a_config_in_its_usual_form_is_valid_without_asking(release: str) -> None:
    assert sections_valid(TEMPLATE, release)


@pytest.mark.parametrize("release", config_documents.RELEASES)
def test_an_ordinary_validator_such_as_an_editors_judges_by_the_same_file(release: str) -> None:
    editor = Draft202012Validator(load_schema(f"training_config/{release}"))
    assert editor.is_valid(TEMPLATE)
    assert not editor.is_valid({"training_config": {"LoraConfig": {"rank": 8}}})
    assert not editor.is_valid({"training_config": {"TrainingArguments": {"save_strategy": False}}})


@pytest.mark.no_cover
@_many
@given(data=st.data(), release=st.sampled_from(config_documents.RELEASES))
def test_the_tables_never_say_valid_where_the_schema_refuses(data: st.DataObject, release: str) -> None:
    document = data.draw(config_documents.documents(release))
    if sections_valid(document, release):
        assert schema_errors(document, release) == []


@pytest.mark.no_cover
@_many
@given(data=st.data(), release=st.sampled_from(config_documents.RELEASES))
def test_the_schema_accepts_exactly_what_the_parser_accepts(data: st.DataObject, release: str) -> None:
    section = data.draw(st.sampled_from(config_documents.section_names(release)))
    options = data.draw(config_documents.options(release, section))
    parse = parse_section(section, list(options.items()), release)
    kinds = {problem.kind for problem in parse.problems}
    # A list may smuggle in options, and a mapping may spell abbreviated ones: the schema speaks of exact keys only.
    exact = not kinds & {ArgProblemKind.DASH_LEADING, ArgProblemKind.ABBREVIATED_KEY, ArgProblemKind.HYPHENATED_KEY}
    assume(not WEBHOOK_KEYS & options.keys())
    errors = schema_errors({"training_config": {section: options}}, release)
    if not parse.is_accepted:
        assert errors
    elif exact:
        assert errors == [], parse.problems
