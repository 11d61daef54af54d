"""Edits inside a ConfigMap change exactly what they say, in every notation of the outer scalar."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.edits import apply_edits
from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.manifest.config_edits import remove_option, rename_option, replace_value, set_option, yaml_text
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.manifest.training_config import TrainingConfig, read_training_config

BLOCK = """training_config:
  # how to load
  ModelConfig:
    torch_dtype: "bfloat16"   # half the memory

  LoraConfig:
    r: 8 # rank
    target_modules:
      - q_proj
      - v_proj  # value
"""
FLOW = "training_config: {ModelConfig: {torch_dtype: 'bfloat16'}, LoraConfig: {r: 8, target_modules: [q_proj]}}\n"


def literal(inner: str, newline: str = "\n") -> str:
    body = "".join(f"    {line}\n" if line else "\n" for line in inner.splitlines())
    text = f"kind: ConfigMap\napiVersion: v1\ndata:\n  training_config.yaml: |\n{body}  other: kept # é😀\n"
    return text.replace("\n", newline)


def quoted(inner: str, style: str) -> str:
    dumped = yaml.dump({"training_config.yaml": inner}, default_style=style, width=10**6)
    value = dumped[dumped.index(":") + 1 :]
    return f"kind: ConfigMap\napiVersion: v1\ndata:\n  training_config.yaml:{value}"


HOSTS = {
    "literal": literal(BLOCK),
    "literal-crlf": literal(BLOCK, "\r\n"),
    "double": quoted(BLOCK, '"'),
    "double-flow": quoted(FLOW, '"'),
    "single-flow": quoted(FLOW, "'"),
    "literal-flow": literal(FLOW),
}


def config_of(text: str) -> TrainingConfig:
    (manifest,) = read_manifests(Source("cm.yaml", text)).manifests
    config = read_training_config(manifest)
    assert config is not None
    assert config.is_editable
    return config


def inner_after(config: TrainingConfig, *edits: Edit) -> dict[str, dict[str, object]]:
    text = apply_edits(config.host.source, edits)
    data = yaml.safe_load(text)["data"]["training_config.yaml"]
    sections: dict[str, dict[str, object]] = yaml.safe_load(data)["training_config"]
    return sections


@pytest.mark.parametrize("host", HOSTS, ids=str)
def test_a_value_is_replaced(host: str) -> None:
    config = config_of(HOSTS[host])
    rank = config.option("LoraConfig", "r")
    assert rank is not None

    assert inner_after(config, replace_value(config, rank, 64))["LoraConfig"]["r"] == 64


@pytest.mark.parametrize("host", HOSTS, ids=str)
def test_a_quoted_string_stays_quoted(host: str) -> None:
    config = config_of(HOSTS[host])
    dtype = config.option("ModelConfig", "torch_dtype")
    assert dtype is not None

    assert inner_after(config, replace_value(config, dtype, "float16"))["ModelConfig"]["torch_dtype"] == "float16"


@pytest.mark.parametrize("host", HOSTS, ids=str)
@pytest.mark.parametrize("section", ["ModelConfig", "LoraConfig", "TrainingArguments"])
def test_an_option_is_added_to_its_section_or_with_it(host: str, section: str) -> None:
    config = config_of(HOSTS[host])

    after = inner_after(config, set_option(config, section, "added", [1, "x y"]))

    assert after[section]["added"] == [1, "x y"]
    del after[section]["added"]
    if section == "TrainingArguments":
        del after[section]
    assert after == inner_after(config)


@pytest.mark.parametrize("host", HOSTS, ids=str)
@pytest.mark.parametrize("name", ["r", "target_modules"])
def test_an_option_is_removed_with_its_value(host: str, name: str) -> None:
    config = config_of(HOSTS[host])
    option = config.option("LoraConfig", name)
    assert option is not None

    before = inner_after(config)
    del before["LoraConfig"][name]
    assert inner_after(config, remove_option(config, option)) == before


@pytest.mark.parametrize("host", HOSTS, ids=str)
def test_a_key_is_renamed(host: str) -> None:
    config = config_of(HOSTS[host])
    option = config.option("LoraConfig", "r")
    assert option is not None

    assert inner_after(config, rename_option(config, option, "rank"))["LoraConfig"]["rank"] == 8


@pytest.mark.parametrize("host", HOSTS, ids=str)
def test_a_list_gets_other_elements(host: str) -> None:
    config = config_of(HOSTS[host])
    targets = config.option("LoraConfig", "target_modules")
    assert targets is not None

    edit = replace_value(config, targets, ["q_proj", "o_proj", "x.y"])

    assert inner_after(config, edit)["LoraConfig"]["target_modules"] == ["q_proj", "o_proj", "x.y"]


def test_elements_that_stay_keep_their_comments() -> None:
    config = config_of(HOSTS["literal"])
    targets = config.option("LoraConfig", "target_modules")
    assert targets is not None

    text = apply_edits(config.host.source, [replace_value(config, targets, ["v_proj", "o_proj"])])

    assert text == HOSTS["literal"].replace(
        "- q_proj\n          - v_proj  # value", "- v_proj  # value\n          - o_proj"
    )


def test_comments_and_layout_around_an_edit_stay() -> None:
    config = config_of(HOSTS["literal-crlf"])

    text = apply_edits(config.host.source, [set_option(config, "LoraConfig", "lora_alpha", 16)])

    assert text == HOSTS["literal-crlf"].replace(
        "- v_proj  # value\r\n", "- v_proj  # value\r\n        lora_alpha: 16\r\n"
    )


def test_an_empty_section_takes_its_first_option() -> None:
    config = config_of(literal("training_config:\n  LoraConfig:\n  ModelConfig: {}\n"))

    assert inner_after(config, set_option(config, "LoraConfig", "r", 8))["LoraConfig"] == {"r": 8}
    assert inner_after(config, set_option(config, "ModelConfig", "r", 8))["ModelConfig"] == {"r": 8}


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20)
)


@given(st.one_of(SCALARS, st.lists(SCALARS, max_size=4)))
def test_a_value_written_as_yaml_reads_back(value: object) -> None:
    assert yaml.safe_load(f"key: {yaml_text(value)}") == {"key": value}
