from __future__ import annotations

import pytest

from kaitoc.compiler.kaito.arguments import ArgProblem, ArgProblemKind, SectionParse, parse_section

RELEASE = "v0.12"


def only_problem(parse: SectionParse) -> ArgProblem:
    (problem,) = parse.problems
    return problem


def trainer(*entries: tuple[str, object], release: str = RELEASE) -> SectionParse:
    return parse_section("TrainingArguments", entries, release)


def test_values_are_those_the_runtime_has_and_say_which_entry_gave_them() -> None:
    parse = parse_section("LoraConfig", [("lora_alpha", "16"), ("target_modules", ["q_proj"])], RELEASE)
    assert parse.problems == ()
    assert (parse.values["lora_alpha"].value, parse.values["lora_alpha"].entry_index) == (16, 0)
    assert parse.values["target_modules"].value == ["q_proj"]
    assert (parse.values["r"].value, parse.values["r"].entry_index) == (8, None)


def test_a_single_string_becomes_a_list_of_one_where_several_are_taken() -> None:
    assert parse_section("LoraConfig", [("target_modules", "all-linear")], RELEASE).values["target_modules"].value == [
        "all-linear"
    ]


@pytest.mark.parametrize(
    ("release", "gradient_checkpointing", "bf16", "learning_rate"),
    [("v0.10", False, False, 5e-5), ("v0.11", True, True, 2e-5), ("v0.12", True, True, 2e-5)],
)
def test_defaults_that_decide_memory_follow_the_release(
    release: str, gradient_checkpointing: bool, bf16: bool, learning_rate: float
) -> None:
    values = trainer(release=release).values
    assert values["gradient_checkpointing"].value is gradient_checkpointing
    assert values["bf16"].value is bf16
    assert values["learning_rate"].value == learning_rate


def test_bf16_is_off_by_default_where_fp16_is_asked_for() -> None:
    assert trainer(("fp16", True)).values["bf16"].value is False


def test_max_length_exists_from_v0_11_only() -> None:
    assert trainer(("max_length", 512), release="v0.11").is_accepted
    assert only_problem(trainer(("max_length", 512), release="v0.10")).kind is ArgProblemKind.UNKNOWN_KEY


@pytest.mark.parametrize(
    ("section", "key", "suggestion"),
    [
        ("TrainingArguments", "max_seq_length", "max_length"),
        ("TrainingArguments", "evaluation_strategy", "eval_strategy"),
        ("TrainingArguments", "learning_rte", "learning_rate"),
        ("ModelConfig", "dtype", "torch_dtype"),
        ("LoraConfig", "lora_r", "r"),
        ("LoraConfig", "zzz", ""),
    ],
)
def test_an_unknown_key_is_refused_with_what_was_likely_meant(section: str, key: str, suggestion: str) -> None:
    problem = only_problem(parse_section(section, [(key, 1)], RELEASE))
    assert (problem.kind, problem.suggestion, problem.is_fatal) == (ArgProblemKind.UNKNOWN_KEY, suggestion, True)


@pytest.mark.parametrize(
    ("section", "key", "home"),
    [
        ("TrainingArguments", "target_modules", "LoraConfig"),
        ("ModelConfig", "load_in_4bit", "QuantizationConfig"),
        ("LoraConfig", "learning_rate", "TrainingArguments"),
    ],
)
def test_a_key_of_another_section_is_sent_home(section: str, key: str, home: str) -> None:
    assert only_problem(parse_section(section, [(key, "x")], RELEASE)).home_section == home


@pytest.mark.parametrize(
    ("key", "kind"),
    [("lora_a", ArgProblemKind.ABBREVIATED_KEY), ("lora-alpha", ArgProblemKind.HYPHENATED_KEY)],
)
def test_abbreviations_and_hyphens_set_the_option_they_stand_for(key: str, kind: ArgProblemKind) -> None:
    parse = parse_section("LoraConfig", [(key, 32)], RELEASE)
    problem = only_problem(parse)
    assert (problem.kind, problem.suggestion, problem.is_fatal) == (kind, "lora_alpha", False)
    assert parse.values["lora_alpha"].value == 32


def test_an_abbreviation_of_several_keys_is_refused() -> None:
    problem = only_problem(parse_section("LoraConfig", [("lora", 32)], RELEASE))
    assert (problem.kind, problem.suggestion) == (ArgProblemKind.AMBIGUOUS_KEY, "lora_alpha, lora_dropout")


def test_an_ambiguous_key_that_is_another_name_of_one_is_told_that_one() -> None:
    problem = only_problem(parse_section("LoraConfig", [("rank", 32)], RELEASE))
    assert (problem.kind, problem.suggestion) == (ArgProblemKind.AMBIGUOUS_KEY, "r")


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("per_device_train_batch_size", 8.0, ArgProblemKind.WRONG_TYPE),
        ("per_device_train_batch_size", True, ArgProblemKind.WRONG_TYPE),
        ("learning_rate", "fast", ArgProblemKind.WRONG_TYPE),
        ("save_strategy", False, ArgProblemKind.INVALID_CHOICE),
        ("max_length", None, ArgProblemKind.NULL_VALUE),
        ("max_length", [], ArgProblemKind.EMPTY_LIST),
        ("max_length", [1, 2], ArgProblemKind.LIST_FOR_SCALAR),
        ("learning_rate", -1e-5, ArgProblemKind.DASH_LEADING),
        ("run_name", "-x", ArgProblemKind.DASH_LEADING),
        ("run_name", "--max_steps", ArgProblemKind.DASH_LEADING),
        ("gradient_checkpointing_kwargs", {"use_reentrant": False}, ArgProblemKind.NESTED_MAPPING),
        ("gradient_checkpointing_kwargs", "{use_reentrant: false}", ArgProblemKind.INVALID_JSON),
        ("no_remove_unused_columns", True, ArgProblemKind.NEGATED_FLAG),
        ("liger_kernel_config", "{}", ArgProblemKind.UNREADABLE_ARGUMENT),
        ("help", "x", ArgProblemKind.HELP_KEY),
    ],
)
def test_a_value_the_parser_refuses_is_named_by_its_fault(key: str, value: object, kind: ArgProblemKind) -> None:
    parse = trainer((key, value))
    assert not parse.is_accepted
    assert kind in [problem.kind for problem in parse.problems if problem.is_fatal]


@pytest.mark.parametrize(
    ("key", "value", "parsed"),
    [
        ("max_length", ["512"], 512),
        ("max_steps", -1, -1),
        ("bf16", "YES", True),
        ("bf16", 0, False),
        ("learning_rate", "1e-4", 1e-4),
        ("gradient_checkpointing", [], True),
        ("gradient_checkpointing_kwargs", '{"use_reentrant": false}', {"use_reentrant": False}),
        ("accelerator_config", {}, None),
    ],
)
def test_a_value_the_parser_takes_is_read_as_it_reads_it(key: str, value: object, parsed: object) -> None:
    parse = trainer((key, value))
    assert parse.is_accepted
    assert parse.values[key].value == parsed


def test_an_option_that_denies_another_sets_that_one() -> None:
    parse = trainer(("no_remove_unused_columns", []))
    assert parse.is_accepted
    assert parse.values["remove_unused_columns"].value is False
    assert "no_remove_unused_columns" not in parse.values


def test_null_for_a_string_is_accepted_as_the_text_none_and_noted() -> None:
    parse = parse_section("ModelConfig", [("chat_template", None)], RELEASE)
    assert parse.values["chat_template"].value == "None"
    assert only_problem(parse).kind is ArgProblemKind.NULL_VALUE
    assert parse.is_accepted


def test_a_mapping_that_spells_another_option_sets_it() -> None:
    parse = trainer(("fsdp", {"config": "file.json"}))
    assert parse.values["fsdp_config"].value == "file.json"
    assert only_problem(parse).kind is ArgProblemKind.NESTED_MAPPING
    assert parse.is_accepted


def test_an_option_hidden_in_a_list_is_noted_where_it_sets_another_key() -> None:
    parse = parse_section("LoraConfig", [("target_modules", ["q_proj", "--r", "64"])], RELEASE)
    assert parse.values["r"].value == 64
    assert parse.problems[0].kind is ArgProblemKind.DASH_LEADING


def test_the_later_of_two_spellings_wins_and_the_earlier_is_noted() -> None:
    parse = parse_section("QuantizationConfig", [("load_in_4bit", False), ("load-in-4bit", True)], RELEASE)
    assert parse.values["load_in_4bit"].value is True
    assert [(found.kind, found.entry_index) for found in parse.problems] == [
        (ArgProblemKind.OVERRIDDEN, 0),
        (ArgProblemKind.HYPHENATED_KEY, 1),
    ]


@pytest.mark.parametrize("dtype", ["auto", "bf16", "torch.bfloat16", None, "nn"])
def test_torch_dtype_must_name_a_dtype_of_torch(dtype: object) -> None:
    assert not parse_section("ModelConfig", [("torch_dtype", dtype)], RELEASE).is_accepted


def test_every_faulty_entry_is_told_at_once() -> None:
    parse = parse_section("LoraConfig", [("r", 8.0), ("lora_dropout", "x"), ("foo", 1)], RELEASE)
    assert [problem.entry_index for problem in parse.problems] == [0, 1, 2]


def test_a_refused_entry_has_no_value_but_keeps_its_place() -> None:
    found = parse_section("LoraConfig", [("r", "eight")], RELEASE).values["r"]
    assert (found.value, found.entry_index) == (None, 0)


def test_patch_releases_share_the_table_of_their_minor_release() -> None:
    assert parse_section("LoraConfig", [], "v0.12.3") == parse_section("LoraConfig", [], "0.12")


def test_a_release_without_a_table_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        parse_section("LoraConfig", [], "v0.1")


def test_a_number_with_more_digits_than_python_prints_is_refused() -> None:
    assert not parse_section("DatasetConfig", [("response_column", 10**5000)], RELEASE).is_accepted
