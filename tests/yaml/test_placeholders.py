"""Placeholders are values that nobody knows yet, whatever YAML would make of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.compiler.yaml.placeholders import is_sealed, placeholder_in, template_action
from kaitoc.compiler.yaml.tree import Mapping, Scalar, walk

PLACEHOLDERS = (
    "${RANK}",
    "$RANK",
    "${RANK:-8}",
    "${RANK:=${OTHER}}",
    "$(RANK)",
    "{{ .Values.rank }}",
    '{{ .Values.rank | default "8" }}',
    "{{ rank }}",
    "${{ inputs.rank }}",
    "<RANK>",
    "<your-rank>",
    "%LORA_RANK%",
    "@@rank@@",
    "@RANK@",
    "__RANK__",
    "((rank))",
    "{LORA_RANK}",
    "RANK_HERE",
    "REPLACE_ME",
    "ref+vault://secret/tuning#/rank",
    "ENC[AES256_GCM,data:OA==,iv:aXY=,tag:dGFn,type:int]",
)
VALUES = (
    "8",
    "phi-3-mini-4k-instruct",
    "registry.example.com/a/b@sha256:0123456789abcdef",
    "https://account.blob.core.windows.net/$web/train%20set.json?sig=a%2FB%3D",
    "user@example.com",
    "a__b",
    "q_proj",
    "[INST]",
    ">=1.0 <2.0",
    "5 < x > 3",
)


def scalars(text: str) -> dict[str, Scalar]:
    (document,) = parse_documents(Source("x.yaml", text))
    assert document.problems == []
    return {
        entry.name: entry.value
        for node in walk(document.root)  # type: ignore[arg-type]  # it was read
        if isinstance(node, Mapping)
        for entry in node.entries
        if isinstance(entry.value, Scalar)
    }


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
@pytest.mark.parametrize("template", ["r: {}\nnext: 1\n", "{{a: {{r: {}}}, next: 1}}\n"], ids=["block", "flow"])
def test_a_placeholder_is_an_unknown_value_and_keeps_its_text(placeholder: str, template: str) -> None:
    text = template.format(placeholder)
    found = scalars(text)

    assert found["r"].placeholder == placeholder
    assert found["r"].value == placeholder
    assert text[found["r"].span.start : found["r"].span.end] == placeholder
    assert found["next"].value == "1"
    assert not found["next"].placeholder


def test_an_encrypted_value_of_several_lines_is_named_by_its_first() -> None:
    found = scalars("r: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  62313365396662343061393464336163\n")

    assert found["r"].placeholder == "$ANSIBLE_VAULT;1.1;AES256"
    assert is_sealed(found["r"].placeholder)


@pytest.mark.parametrize("value", VALUES)
def test_an_ordinary_value_is_known(value: str) -> None:
    assert not scalars(f"key: '{value}'\n")["key"].placeholder


def test_a_part_of_a_value_makes_all_of_it_unknown() -> None:
    assert scalars("image: ${REGISTRY}/adapters:v1\n")["image"].placeholder == "${REGISTRY}"


@pytest.mark.parametrize("key", ["eos_token", "pad_token", "chat_template", "response_template"])
def test_special_tokens_and_jinja_are_values_under_their_keys(key: str) -> None:
    assert not placeholder_in("<eos>", key)
    assert not placeholder_in("{{ message['content'] }}{% endfor %}", key)
    assert placeholder_in("${TOKEN}", key)
    assert placeholder_in("{{ .Values.token }}", key)


def test_two_placeholders_of_one_length_are_two_keys() -> None:
    (document,) = parse_documents(Source("x.yaml", "${A}: 1\n${B}: 2\n"))

    assert document.problems == []


def test_the_same_placeholder_twice_is_one_key() -> None:
    (document,) = parse_documents(Source("x.yaml", "${A}: 1\n${A}: 2\n"))

    assert [problem.message for problem in document.problems] == [
        "the key `${A}` is set twice; only the last one takes effect"
    ]


def test_a_text_of_several_lines_is_known_but_for_its_parts() -> None:
    found = scalars("data: |\n  training_config:\n    r: ${RANK}\n")

    assert not found["data"].placeholder


@pytest.mark.parametrize(
    "text", ["{{- if .Values.on }}\na: 1\n{{- end }}\n", "{% if on %}\na: 1\n", '{{ include "x" . }}\n']
)
def test_the_actions_of_a_template_are_told_from_jinja_in_a_value(text: str) -> None:
    assert template_action(text) == 0


def test_jinja_in_a_value_makes_no_template() -> None:
    assert template_action('a: [b\nchat_template: "{{ bos_token }}{% for m in messages %}"\n') is None


@given(
    st.lists(
        st.sampled_from([*PLACEHOLDERS, *VALUES, "a", "# c", "[", "]", "{", "}", ": ", "\n", "- ", '"', "'"]),
        max_size=12,
    )
)
def test_spans_are_those_of_the_text_whatever_is_masked(pieces: list[str]) -> None:
    text = "".join(pieces)
    for document in parse_documents(Source("x.yaml", text)):
        for node in walk(document.root) if document.root is not None else ():
            if isinstance(node, Scalar) and node.style is None and "\n" not in text[node.span.start : node.span.end]:
                assert text[node.span.start : node.span.end].strip() in ("", node.value)
