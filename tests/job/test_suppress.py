"""What suppression comments and annotations cover, and what is said of those without effect."""

import sys
from collections import Counter
from collections.abc import Callable

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.edits import apply_edits
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.job.suppressions import (
    Scope,
    SuppressedFindings,
    apply_suppressions,
    find_suppressions,
    parse_annotation,
)

CONFIGMAP = """\
kind: ConfigMap
data:
  training_config.yaml: |
    training_config:
      # kaitoc: ignore[KT402] measured, it is enough
      LoraConfig:
        target_modules: [q_proj]
      TrainingArguments:
        bf16: true  # kaitoc: ignore[KT403, no-bf16] old GPU
"""


def found_at(source: Source, text: str, code: str = "KT402", name: str = "partly-matched") -> Finding:
    start = source.text.index(text)
    return Finding(code, name, Severity.ERROR, "message", source, Span(start, start + len(text)))


def block_below(source: Source) -> Callable[[int], Span]:
    """Return a stand-in for the YAML tree: a key covers its line and the deeper lines below it."""

    def covered_span(line: int) -> Span:
        text = source.line_text(line)
        depth = len(text) - len(text.lstrip())
        end = source.line_span(line).end
        for below in range(line + 1, len(source.line_starts) + 1):
            text = source.line_text(below)
            if text.strip() and len(text) - len(text.lstrip()) <= depth:
                break
            end = source.line_span(below).end
        return Span(source.line_span(line).start + depth, end)

    return covered_span


def outcome(
    source: Source, *findings: Finding, refuse_errors: bool = False, not_run: frozenset[str] = frozenset()
) -> SuppressedFindings:
    suppressions = find_suppressions(source)
    return apply_suppressions(findings, suppressions, block_below(source), refuse_errors=refuse_errors, not_run=not_run)


def test_comments_are_found_with_their_codes_and_reasons() -> None:
    source = Source("cm.yaml", CONFIGMAP)
    above, beside = find_suppressions(source)

    assert (above.scope, above.codes, above.reason) == (Scope.KEY, ("KT402",), "measured, it is enough")
    assert (beside.scope, beside.codes, beside.reason) == (Scope.LINE, ("KT403", "no-bf16"), "old GPU")
    assert source.slice(above.span) == "# kaitoc: ignore[KT402] measured, it is enough"
    assert source.slice(beside.span) == "# kaitoc: ignore[KT403, no-bf16] old GPU"


def test_a_comment_above_a_key_covers_its_value_and_no_more() -> None:
    source = Source("cm.yaml", CONFIGMAP)
    inside, outside = found_at(source, "[q_proj]"), found_at(source, "TrainingArguments")

    result = outcome(source, inside, outside)

    assert result.suppressed == (inside,)
    assert result.kept == (outside,)


def test_a_comment_on_the_line_covers_the_line() -> None:
    source = Source("cm.yaml", "a: 1 # kaitoc: ignore[KT402]\nb: 2\n")
    here, below = found_at(source, "1"), found_at(source, "b")

    assert outcome(source, here, below).suppressed == (here,)


def test_blank_and_comment_lines_may_stand_between_comment_and_key() -> None:
    source = Source("cm.yaml", "# kaitoc: ignore[KT402]\n\n# why\na: 1\n")
    finding = found_at(source, "1")

    assert outcome(source, finding).suppressed == (finding,)


def test_stacked_comments_cover_the_same_key() -> None:
    source = Source("cm.yaml", "# kaitoc: ignore[KT402]\n# kaitoc: ignore[KT403]\na: 1\n")
    first, second = found_at(source, "1"), found_at(source, "1", "KT403", "other")

    assert outcome(source, first, second) == SuppressedFindings((), (first, second))


def test_a_rule_can_be_named_by_its_name() -> None:
    source = Source("cm.yaml", "a: 1 # kaitoc: ignore[partly-matched]\n")
    finding = found_at(source, "1")

    assert outcome(source, finding) == SuppressedFindings((), (finding,))


def test_a_file_comment_covers_the_file() -> None:
    source = Source("cm.yaml", "a: 1\n# kaitoc: ignore-file[KT402] generated\nb: 3\n")
    first, second = found_at(source, "1"), found_at(source, "3")

    assert outcome(source, first, second) == SuppressedFindings((), (first, second))


def test_an_annotation_covers_its_object() -> None:
    source = Source("cm.yaml", "metadata:\n  annotations:\n    kaitoc.dev/ignore: x\na: 1\n---\nb: 2\n")
    span, covered = Span(0, 1), Span(0, source.text.index("---"))
    suppressions = parse_annotation("KT402 meant so; KT501,KT502 big GPU;", source, span, covered)
    inside, outside = found_at(source, "1"), found_at(source, "2")

    result = apply_suppressions((inside, outside), suppressions, block_below(source))

    assert [(item.codes, item.reason) for item in suppressions] == [
        (("KT402",), "meant so"),
        (("KT501", "KT502"), "big GPU"),
    ]
    assert result.suppressed == (inside,)
    assert [finding.message.count("`KT50") for finding in result.unused] == [2]


@pytest.mark.parametrize(
    "text",
    [
        "a: '# kaitoc: ignore[KT402]'\n",
        'a: "x\n  # kaitoc: ignore[KT402]"\n',
        'a: "x\n  # kaitoc: ignore[KT402]\n  y"\n',
        'data:\n  c.yaml: |\n    a: "x\n      # kaitoc: ignore[KT402]"\n',
        "a: b# kaitoc: ignore[KT402]\n",
        "a: 1 # kaitoc: ignored[KT402]\n",
        "a: 1 # kaitoc: ignore-line[KT402]\n",
        "a: 1 # see kaitoc: ignore[KT402]\n",
    ],
)
def test_what_is_no_suppression_comment_suppresses_nothing(text: str) -> None:
    assert find_suppressions(Source("cm.yaml", text)) == ()


@pytest.mark.parametrize(
    "text",
    [
        "a: it's # kaitoc: ignore[KT402]\n",
        "a: 'it''s' # kaitoc: ignore[KT402]\n",
        "# don't\na: 1 #kaitoc:ignore[ KT402 ]\n",
        "a: |  # kaitoc: ignore[KT402]\n  'open\n",
        "d: |\n  # don't\n  a: 1 # kaitoc: ignore[KT402]\n",
        "a: 1 # note # kaitoc: ignore[KT402] why # more\n",
        "a: \x01'\nb: 1 # kaitoc: ignore[KT402]\n",
        "\n\ra: 1\r# kaitoc: ignore[KT402]\rb: 2\r",
    ],
)
def test_quotes_elsewhere_do_not_hide_a_comment(text: str) -> None:
    (suppression,) = find_suppressions(Source("cm.yaml", text))

    assert suppression.codes == ("KT402",)


def test_spans_are_right_behind_wide_characters_and_crlf() -> None:
    source = Source("cm.yaml", "a: '𐐀速'\r\nb: \"größe\" # kaitoc: ignore[KT402] gut\r\n")
    (suppression,) = find_suppressions(source)

    assert source.slice(suppression.span) == "# kaitoc: ignore[KT402] gut"


def test_two_comments_on_one_line_are_two_suppressions() -> None:
    source = Source("cm.yaml", "a: 1 # kaitoc: ignore[KT402] x # kaitoc: ignore[KT403] y\n")

    assert [item.reason for item in find_suppressions(source)] == ["x", "y"]


def test_an_unused_suppression_is_a_finding_at_the_comment() -> None:
    source = Source("cm.yaml", "a: 1 # kaitoc: ignore[KT402]\n")
    (unused,) = outcome(source).unused

    assert (unused.code, unused.name, unused.severity) == ("KT109", "unused-suppression", Severity.WARNING)
    assert source.slice(unused.span) == "# kaitoc: ignore[KT402]"


def test_a_suppression_without_a_code_is_a_finding() -> None:
    (unused,) = outcome(Source("cm.yaml", "a: 1 # kaitoc: ignore\n")).unused

    assert "names no rule" in unused.message


def test_a_second_suppression_of_the_same_is_unused() -> None:
    source = Source("cm.yaml", "# kaitoc: ignore-file[KT402]\na: 1 # kaitoc: ignore[KT402]\n")
    (unused,) = outcome(source, found_at(source, "1")).unused

    assert source.slice(unused.span) == "# kaitoc: ignore-file[KT402]"


def test_suppressions_of_rules_that_did_not_run_are_left_alone() -> None:
    source = Source("cm.yaml", "a: 1 # kaitoc: ignore[KT402]\n")

    assert outcome(source, not_run=frozenset({"KT402"})) == SuppressedFindings(())


def test_unused_suppressions_can_be_accepted_for_a_file() -> None:
    source = Source("cm.yaml", "# kaitoc: ignore-file[KT109]\na: 1 # kaitoc: ignore[KT402]\n")

    assert outcome(source).unused == ()


def test_accepting_unused_suppressions_where_there_are_none_is_unused() -> None:
    (unused,) = outcome(Source("cm.yaml", "# kaitoc: ignore-file[KT109]\na: 1\n")).unused

    assert "`KT109`" in unused.message


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: 1  # kaitoc: ignore[KT402] why\nb: 2\n", "a: 1\nb: 2\n"),
        ("a: 1  # kaitoc: ignore[KT402]\r\n", "a: 1\r\n"),
        ("a: 1  # kaitoc: ignore[KT402]", "a: 1"),
        ("x:\n  # kaitoc: ignore[KT402] why\n  a: 1\n", "x:\n  a: 1\n"),
        ("a: 1 # kaitoc: ignore[KT402] why # note\n", "a: 1 # note\n"),
        ("a: 1 # kaitoc: ignore[KT402, KT777] why\n", "a: 1 # kaitoc: ignore[KT777] why\n"),
    ],
)
def test_the_fix_removes_what_is_unused_and_nothing_else(before: str, after: str) -> None:
    source = Source("cm.yaml", before)
    used = found_at(source, "a", "KT777", "used")
    (unused,) = outcome(source, used).unused
    assert unused.fix is not None

    assert apply_edits(source, unused.fix.edits) == after


def test_errors_stay_where_suppressing_them_is_refused() -> None:
    source = Source("cm.yaml", "a: 1 # kaitoc: ignore[KT402]\n")
    finding = found_at(source, "1")

    assert outcome(source, finding, refuse_errors=True) == SuppressedFindings((finding,), refused=(finding,))


def test_without_suppressions_every_finding_stays() -> None:
    source = Source("cm.yaml", "a: 1\n")
    finding = found_at(source, "1")

    assert apply_suppressions([finding], (), source.line_span) == SuppressedFindings((finding,))


def test_a_file_that_does_not_name_kaitoc_is_not_scanned() -> None:
    assert find_suppressions(Source("cm.yaml", "a: '" * 100)) == ()


@given(st.lists(st.sampled_from(["# kaitoc: ignore[KT1]", "'", '"', "\n", "  ", "a: ", "|", "- ", "#", "{", "\r"])))
def test_no_text_makes_the_search_fail(parts: list[str]) -> None:
    source = Source("cm.yaml", "".join(parts))

    for suppression in find_suppressions(source):
        assert source.slice(suppression.span).startswith("#")
        assert suppression.covered.end <= len(source.text) + 1


@pytest.mark.parametrize("text", ["a: " + "[" * 200_000 + "'", "{'a': " * 50_000, "a: 'x'\nb: [1, 2]\n" * 200_000])
def test_a_text_that_takes_too_long_to_scan_is_not_scanned(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "scan", lambda *_, **__: pytest.fail("scanned"))

    assert len(find_suppressions(Source("cm.yaml", text + "\n# kaitoc: ignore[KT402]\n"))) == 1


@pytest.mark.parametrize("line", ["# kaitoc: ignore[KT402]\n", "a: 'x' # kaitoc: ignore[KT402]\n"])
def test_twice_as_many_suppressions_and_findings_take_twice_the_calls(line: str) -> None:
    once, twice = num_calls(line, 1_000), num_calls(line, 2_000)

    assert twice < 2.2 * once


def num_calls(line: str, num_lines: int) -> int:
    """Return how many functions are called to suppress a finding on each line by a comment on each line."""
    source = Source("cm.yaml", line * num_lines + "a: 1\n")
    spans = (Span(start, start + 1) for start in range(0, len(source.text), len(line)))
    findings = [Finding("KT402", "n", Severity.ERROR, "m", source, span) for span in spans]
    calls = Counter[str]()
    sys.setprofile(lambda _, event, __: calls.update((event,)))
    try:
        apply_suppressions(findings, find_suppressions(source), source.line_span)
    finally:
        sys.setprofile(None)
    return calls["call"] + calls["c_call"]
