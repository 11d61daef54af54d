"""Reading YAML: several documents, aliases, merge keys, and everything that is not YAML."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.yaml.parser import MAX_DEPTH, parse_documents
from kaitoc.compiler.yaml.tree import Document, Mapping, ProblemKind, Scalar
from kaitoc.compiler.yaml.values import plain_value, value_problems


def parse(text: str) -> list[Document]:
    return parse_documents(Source("x.yaml", text))


def problems(text: str) -> list[tuple[ProblemKind, int, str]]:
    source = Source("x.yaml", text)
    return [
        (problem.kind, source.position(problem.span.start).line, problem.message)
        for document in parse_documents(source)
        for problem in document.problems
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: [\n", 1, "flow"),
        ("a: b\n c: d\n", 2, "mapping values"),
        ("\ta: b\n", 1, "token"),
        ("{a: [1,2}\n", 1, "']'"),
        ("x: *y\n", 1, "undefined alias `y`"),
        ("&a [*a]\n", 1, "contains itself"),
        ('a: "\x01"\n', 1, "U+0001"),
        ("ok: 1\nk: 'x\n", 2, "quoted scalar"),
        ("[" * 10_000, 1, "nested deeper"),
        ("- " * 10_000, 1, "nested deeper"),
        ("{a: " * 10_000, 1, "nested deeper"),
    ],
)
def test_text_that_is_not_yaml_is_a_problem_at_its_line(text: str, line: int, words: str) -> None:
    ((kind, found_line, message),) = problems(text)

    assert (kind, found_line) == (ProblemKind.SYNTAX, line)
    assert words in message


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("a: 1\n@b: 1\n", "a: 1\n"),
        ("a: 1\n\n\n}\n", "a: 1\n\n\n"),
        ("a: {b: 1\n", "a: {b: 1"),
        ("a: {b: 1\r\n\r\n", "a: {b: 1"),
    ],
    ids=["a line's first character", "after empty lines", "the end of the text", "the end behind empty lines"],
)
def test_a_syntax_error_is_shown_where_it_is_and_never_on_an_empty_line(text: str, before: str) -> None:
    ((problem,),) = [document.problems for document in parse(text) if document.problems]

    assert text[: problem.span.start] == before


def test_an_alias_bomb_is_a_problem_and_is_never_expanded() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]

    ((kind, _, message),) = problems("\n".join(levels))

    assert kind is ProblemKind.SYNTAX
    assert "aliases expand" in message


@pytest.mark.parametrize(("num_more", "is_read"), [(104, True), (105, False)])
def test_aliases_may_expand_a_document_to_50_000_nodes(num_more: int, is_read: bool) -> None:
    """Keys do not count: the root is 1, the anchored list 101, the other list 1 and what is in it."""
    items = [*["*list"] * 493, *["x"] * num_more]
    text = f"one: &list [{', '.join(['x'] * 100)}]\nall: [{', '.join(items)}]\n"

    assert [message for *_, message in problems(text)] == (
        [] if is_read else ["aliases expand to more than 50,000 nodes"]
    )


def test_a_document_without_aliases_may_be_longer() -> None:
    assert problems("- x\n" * 50_001) == []


def test_a_long_chain_of_aliases_is_too_deep() -> None:
    chain = "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 2 * MAX_DEPTH))])

    ((_, _, message),) = problems(chain)

    assert "nested deeper" in message


def test_documents_after_a_broken_one_are_still_read() -> None:
    documents = parse("a: 1\n---\nb: [\n---\nc: 3\n")

    assert [document.root is not None for document in documents] == [True, False, True]


def test_a_duplicate_key_names_both_places() -> None:
    source = Source("x.yaml", "a:\n  b: 1\n  c: 2\n  b: 3\n")
    (problem,) = parse_documents(source)[0].problems

    assert problem.kind is ProblemKind.DUPLICATE_KEY
    assert source.position(problem.span.start).line == 4
    assert problem.related is not None
    assert source.position(problem.related.start).line == 2


def test_the_last_of_two_equal_keys_counts() -> None:
    root = parse("a: 1\na: 2\n")[0].root
    assert isinstance(root, Mapping)
    entry = root.get("a")

    assert entry is not None
    assert plain_value(entry.value) == 2


@pytest.mark.parametrize(
    "text",
    [
        "base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n",
        "one: &o {x: 1}\ntwo: &t {x: 2, y: 2}\nuse: {<<: [*o, *t], z: 3}\n",
        "a: &a {k: 1}\nb: &b {<<: *a, m: 2}\nc: {<<: *b, k: 9}\n",
        "a: no\nb: 010\nc: 1e-4\nd: 1.0e-4\ne: 1:30\nf: ~\ng: 2020-01-02\nh: .inf\ni: 0x1F\nj: '1'\nk: !!str 1\n",
        "? a\n: - 1\n  - [2, {b: c}]\nz: |-\n  text\n",
    ],
)
def test_values_are_what_safe_load_makes_of_them(text: str) -> None:
    root = parse(text)[0].root
    assert root is not None

    assert list(value_problems(root)) == []
    assert plain_value(root) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: !foo b\n",
        "a: 2024-99-99\n",
        "? [a]\n: b\n",
        "a: !!python/object:x.y {}\n",
        "a: !!int x\n",
        "<<: 1\n",
        "a: =\n",
    ],
)
def test_what_safe_load_refuses_is_a_problem(text: str) -> None:
    root = parse(text)[0].root
    assert root is not None

    assert [problem.kind for problem in value_problems(root)] == [ProblemKind.VALUE]
    with pytest.raises((yaml.YAMLError, ValueError)):
        yaml.safe_load(text)


def test_a_value_behind_quoted_ones_is_still_judged() -> None:
    root = parse("a: 'x'\nb: [\"y\", 2024-99-99]\n")[0].root
    assert root is not None

    assert [problem.kind for problem in value_problems(root)] == [ProblemKind.VALUE]


def test_an_alias_keeps_its_own_place() -> None:
    source = Source("x.yaml", "a: &n 5\nb: *n\n")
    root = parse_documents(source)[0].root
    assert isinstance(root, Mapping)
    entry = root.get("b")

    assert entry is not None
    assert entry.is_alias
    assert source.slice(entry.value_span) == "*n"
    assert source.slice(entry.value.span) == "5"


@given(st.text())
def test_no_text_makes_the_parser_raise(text: str) -> None:
    for document in parse(text):
        if document.root is not None:
            list(value_problems(document.root))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                    lambda children: st.lists(children, max_size=4)
                    | st.dictionaries(st.text(max_size=6), children, max_size=4), max_leaves=12))  # fmt: skip
def test_dumped_values_read_back(value: object) -> None:
    text = yaml.dump(value, allow_unicode=True)
    root = parse(text)[0].root

    assert root is not None
    assert plain_value(root) == yaml.safe_load(text)


def test_the_span_of_a_scalar_leaves_out_its_anchor_and_tag() -> None:
    source = Source("x.yaml", "a: &anchor !!str 5\n")
    root = parse_documents(source)[0].root
    assert isinstance(root, Mapping)
    value = root.entries[0].value

    assert isinstance(value, Scalar)
    assert source.slice(value.span) == "5"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n  b: 'x\nc: d\n", 2),
        ("a:\n  b: 'x\n---\nc: d\n", 2),
        ('a:\n  b: "x\n', 2),
        ("a:\n  b: |\n  text\n---\nc: d\n", 3),
        ("a: b\ntext\n\n\nc: d\n", 2),
        ("a: b\n c: d\n", 2),
    ],
)
def test_what_is_never_closed_is_told_where_it_begins(text: str, line: int) -> None:
    """libyaml notices it lines later, at times in the next document."""
    (_, noticed, _) = problems(text)[0]

    assert noticed == line
