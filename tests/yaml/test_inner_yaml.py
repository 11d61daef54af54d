"""An inner text that stands in several files is read once, and each file has it at its own place."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.yaml.inner import MAX_CHARACTERS, InnerYaml, read_inner_yaml
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.compiler.yaml.scalar_map import map_scalar
from kaitoc.compiler.yaml.tree import Mapping, Node, ProblemKind, Scalar, Sequence

INNER_TEXTS = {
    "plain": "training_config:\n  LoraConfig: {r: 8}\n  # a comment\n  Other:\n  - a\n  - [b, c]\n",
    "aliased": "base: &base {r: 8}\nLoraConfig: *base\nMerged:\n  <<: *base\n  <<: [*base]\n",
    "faulty": "a: 1\na: 2\nb: !unknown x\nc: 0o8_\n---\nsecond: document\n",
    "broken": "a: [1\nb: 2\n",
    "empty": "# nothing\n",
}
HOSTS = {
    "literal": lambda text: "|\n" + "".join(f"    {line}\n" for line in text.splitlines()),
    "kept": lambda text: "|+ # why\n" + "".join(f"      {line}\n" for line in text.splitlines()) + "\n\n",
    "quoted": lambda text: '"' + text.replace("\n", "\\n").replace('"', '\\"') + '"\n',
}


def host_in(text: str, name: str, newline: str = "\n") -> tuple[Source, Scalar]:
    outer = f"kind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  config: {text}after: é\n"
    source = Source(f"{name}.yaml", outer.replace("\n", newline))
    field = read_manifests(source).manifests[0].field("data", "config")
    assert field is not None
    assert isinstance(field.node, Scalar)
    return source, field.node


def shape(node: Node | None) -> Any:
    """Return a tree as plain values, its spans and its shared nodes included."""
    numbers: dict[int, int] = {}

    def of(node: Node | None) -> Any:
        if node is None or id(node) in numbers:
            return node and numbers[id(node)]
        numbers[id(node)] = len(numbers)
        if isinstance(node, Scalar):
            return ("scalar", node.span, node.value, node.style, node.tag)
        if isinstance(node, Sequence):
            return ("sequence", node.span, node.is_flow, node.tag, node.depth, node.num_nodes,
                    [(of(item.value), item.span) for item in node.items])  # fmt: skip
        return ("mapping", node.span, node.is_flow, node.tag, node.depth, node.num_nodes, node.is_plain,
                [(of(entry.key), of(entry.value), entry.value_span) for entry in node.entries])  # fmt: skip

    return of(node)


def places(inner: InnerYaml) -> list[object]:
    scalar_map = inner.scalar_map
    return [scalar_map.span(index, index + 1) for index in range(len(scalar_map.value) + 1)]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("kind", INNER_TEXTS)
@given(names=st.lists(st.from_regex(r"[a-z]{1,12}", fullmatch=True), min_size=2, max_size=4))
def test_a_text_is_at_home_in_every_file_it_stands_in(kind: str, newline: str, host: str, names: list[str]) -> None:
    for name in names:
        source, scalar = host_in(HOSTS[host](INNER_TEXTS[kind]), name, newline)
        inner = read_inner_yaml(source, scalar)
        scalar_map = map_scalar(source, scalar)
        documents = parse_documents(source, scalar.value, scalar_map.span)
        problems = documents[0].problems if documents else []
        assert shape(inner.root) == shape(documents[0].root if documents else None)
        assert [*inner.problems[: len(problems)]] == problems
        assert places(inner) == [scalar_map.span(i, i + 1) for i in range(len(scalar.value) + 1)]
        assert inner.scalar_map.exact == scalar_map.exact


def test_problems_and_a_second_document_move_along() -> None:
    sources = [host_in(HOSTS["literal"](INNER_TEXTS["faulty"]), name) for name in ("a", "a-longer-name")]
    for source, scalar in sources:
        inner = read_inner_yaml(source, scalar)
        assert [source.slice(problem.span) for problem in inner.problems] == ["a", "x"]
        duplicate = next(problem for problem in inner.problems if problem.related is not None)
        assert duplicate.related is not None
        assert source.slice(duplicate.related) == "a"
        assert duplicate.related.start < duplicate.span.start
        assert inner.second_document is not None
        assert source.text[inner.second_document.start :].startswith("---")


def test_equal_texts_share_what_follows_from_them_and_different_texts_do_not() -> None:
    one, other = (read_inner_yaml(*host_in(HOSTS["literal"]("r: 8\n"), name)) for name in ("one", "another"))
    changed = read_inner_yaml(*host_in(HOSTS["literal"]("r: 9\n"), "one"))
    assert one.memo is other.memo
    assert one.memo is not changed.memo


def test_a_text_longer_than_any_training_config_is_not_read() -> None:
    long_text = "a: 1\n" + "# padding\n" * (MAX_CHARACTERS // 10)
    source, scalar = host_in(HOSTS["literal"](long_text), "one")

    inner = read_inner_yaml(source, scalar)

    assert inner.root is None
    assert [problem.kind for problem in inner.problems] == [ProblemKind.TOO_LONG]
    assert inner.problems[0].span.start == scalar.span.start


def test_the_same_raw_text_that_yaml_reads_differently_is_read_anew() -> None:
    """An indentation indicator counts from the parent, so the raw text alone does not say what the value is."""
    block = "|2\n      r: 8\n"
    shallow = Source("a.yaml", f"data:\n  config: {block}")
    deep = Source("b.yaml", f"data:\n  more:\n    config: {block}")
    values = []
    for source, path in ((shallow, ("data", "config")), (deep, ("data", "more", "config"))):
        field = read_manifests(source).manifests[0].field(*path)
        assert field is not None
        assert isinstance(field.node, Scalar)
        inner = read_inner_yaml(source, field.node)
        assert isinstance(inner.root, Mapping)
        values.append((field.node.value, source.slice(inner.root.span)))
    assert values == [("  r: 8\n", "r: 8"), ("r: 8\n", "r: 8")]


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        ("a:\t1\n", False),
        ("a: 1\t\n", False),
        ("a: {b:\t1}\n", False),
        ("%YAML 2.0\n---\na: 1\n", False),
        ("%YAML 1.3\n---\na: 1\n", True),
        ("a: 'b\tc'\n", True),
        ("a: |\n  b\tc\n", True),
        ("a: 1 # b\tc\n", True),
    ],
)
def test_an_inner_text_is_read_as_pythons_own_parser_reads_it(text: str, is_read: bool) -> None:
    """Kaito reads it with `yaml.safe_load`; libyaml takes tabs between tokens and refuses versions after 1.2."""
    try:
        yaml.safe_load(text)
    except yaml.YAMLError:
        assert not is_read
    else:
        assert is_read
    documents = parse_documents(Source("in.yaml", text), is_pythons=True)

    assert any(document.problems for document in documents) is not is_read
