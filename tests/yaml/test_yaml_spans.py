"""Every inner node knows its place in the outer file, whatever scalar style holds the inner document."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.compiler.yaml.scalar_map import map_scalar
from kaitoc.compiler.yaml.tree import Mapping, Scalar, walk

KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,24}", fullmatch=True)
TEXTS = st.text(alphabet=st.sampled_from("abc XYZ019_-/:#'\"\\{}[],&*é😀\t%@"), min_size=1, max_size=60)
VALUES = st.one_of(st.integers(-5, 10**6), st.booleans(), st.floats(0, 1), TEXTS, st.lists(TEXTS, max_size=3))
CONFIGS = st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, min_size=1, max_size=5), min_size=1, max_size=4)
STYLES = ["literal", "literal-indicator", "literal-keep", "folded", "single", "double"]


def render(inner: str, style: str, newline: str) -> str:
    if style.startswith("literal"):
        header = {"literal": "|", "literal-indicator": "|1-", "literal-keep": "|+  # comment"}[style]
        body = "".join(f"   {line}\n" if line else "\n" for line in inner.split("\n")[:-1])
        block = f" {header}\n{body}"
    else:
        scalar_style = {"folded": ">", "single": "'", "double": '"'}[style]
        dumped = yaml.dump({"training_config.yaml": inner}, default_style=scalar_style, allow_unicode=True)
        # PyYAML also folds lines that begin with a space, whose ends every reader keeps: then it wrote another text.
        assume(yaml.safe_load(dumped)["training_config.yaml"] == inner)
        block = dumped[dumped.index(":") + 1 :]
        block = "".join(line if index == 0 or not line.strip() else f" {line}"
                        for index, line in enumerate(block.splitlines(keepends=True)))  # fmt: skip
    text = f"kind: ConfigMap\ndata:\n  other: 'é😀'\n  training_config.yaml:{block}---\nkind: Other\n"
    return text.replace("\n", newline)


def inner_scalars(source: Source) -> tuple[Scalar, list[Scalar], bool]:
    root = parse_documents(source)[0].root
    assert isinstance(root, Mapping)
    data = root.get("data")
    assert data is not None
    assert isinstance(data.value, Mapping)
    host = data.value.get("training_config.yaml")
    assert host is not None
    assert isinstance(host.value, Scalar)
    mapped = map_scalar(source, host.value)
    (document,) = parse_documents(source, host.value.value, mapped.span)
    assert document.root is not None
    return host.value, [node for node in walk(document.root) if isinstance(node, Scalar)], mapped.exact


def read_as_outer(text: str, style: str | None) -> str:
    """Undo the outer scalar's own notation, leaving inner YAML."""
    if style in ("'", '"'):
        return str(yaml.safe_load(f"{style}{text}{style}"))
    return text


@given(config=CONFIGS, style=st.sampled_from(STYLES), newline=st.sampled_from(["\n", "\r\n"]), flow=st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_text_under_a_span_is_the_key_or_value_it_names(
    config: dict[str, object], style: str, newline: str, flow: bool
) -> None:
    inner = yaml.dump({"training_config": config}, allow_unicode=True, width=10**6, default_flow_style=flow)
    source = Source("cm.yaml", render(inner, style, newline))

    host, scalars, exact = inner_scalars(source)

    assert exact
    assert host.value.rstrip("\n") == inner.rstrip("\n")
    for scalar in scalars:
        token = read_as_outer(source.slice(scalar.span), host.style)
        value = yaml.safe_load(token) if scalar.style else token
        assert " ".join(str(value).split()) == " ".join(scalar.value.split())


@given(config=CONFIGS, style=st.sampled_from(STYLES))
@settings(max_examples=50, deadline=None)
def test_spans_are_ordered_and_inside_their_scalar(config: dict[str, object], style: str) -> None:
    inner = yaml.dump({"training_config": config}, allow_unicode=True, width=10**6)
    source = Source("cm.yaml", render(inner, style, "\n"))

    host, scalars, _ = inner_scalars(source)

    starts = [scalar.span.start for scalar in scalars]
    assert starts == sorted(starts)
    assert all(host.span.covers(scalar.span) for scalar in scalars)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('kind: ConfigMap\ndata:\n  training_config.yaml: "a:\\n  b\\x63: \\"d\\"\\n"\n', ["a", "b\\x63", '\\"d\\"']),
        ("kind: ConfigMap\ndata:\n  training_config.yaml: 'a: ''x'''\n", ["a", "''x''"]),
        ("kind: ConfigMap\ndata:\n  training_config.yaml: {}\n", []),
        ('kind: ConfigMap\ndata:\n  training_config.yaml: "a: [1,\\\n    2]"\n', ["a", "1", "2"]),
        ("kind: ConfigMap\ndata:\n  training_config.yaml: &t !!str |\n    a:\tb\t# c\n", ["a", "b"]),
        ("kind: ConfigMap\ndata:\n  training_config.yaml: |2\n      a: 1\n      b: 2\n", ["a", "1", "b", "2"]),
        ("kind: ConfigMap\ndata:\n  training_config.yaml: |\n\n\n    a: 1\n", ["a", "1"]),
        (
            "kind: ConfigMap\ndata:\n  training_config.yaml: >\n\n    a:\n      b: 1\n      c: 2\n",
            ["a", "b", "1", "c", "2"],
        ),
    ],
)
def test_notations_of_the_outer_scalar_are_followed(text: str, expected: list[str]) -> None:
    source = Source("cm.yaml", text)
    root = parse_documents(source)[0].root
    assert isinstance(root, Mapping)
    data = root.get("data")
    assert data is not None
    assert isinstance(data.value, Mapping)
    host = data.value.get("training_config.yaml")
    assert host is not None
    if not isinstance(host.value, Scalar):
        assert expected == []
        return

    mapped = map_scalar(source, host.value)
    (document,) = parse_documents(source, host.value.value, mapped.span)

    assert document.root is not None
    assert [source.slice(node.span) for node in walk(document.root) if isinstance(node, Scalar)] == expected
    assert mapped.exact


def test_a_map_that_cannot_follow_the_text_falls_back_to_the_line() -> None:
    source = Source("cm.yaml", "a: |\n  one: 1\n  two: 2\n")
    scalar = Scalar(Span(3, 23), "one: 1\nthree: 2\n", "|", None)

    mapped = map_scalar(source, scalar)

    assert not mapped.exact
    assert source.position(mapped.span(7, 12).start).line == 3


@given(text=st.text(max_size=40))
def test_text_encoded_for_a_quoted_scalar_reads_back(text: str) -> None:
    printable = "".join(char for char in text if char.isprintable() or char == "\n")
    source = Source("cm.yaml", 'a: "x"\n')
    root = parse_documents(source)[0].root
    assert isinstance(root, Mapping)
    scalar = root.entries[0].value
    assert isinstance(scalar, Scalar)

    encoded = map_scalar(source, scalar).encode(printable)

    assert yaml.safe_load(f'"{encoded}"') == printable
