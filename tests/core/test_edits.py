"""Edits change what they name and nothing else."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.edits import OverlapError, apply_edits, collect_edits, select_fixes, unified_diff
from kaitoc.compiler.core.findings import Applicability, Edit, Finding, Fix, Severity
from kaitoc.compiler.core.source import Source, Span


def finding(
    source: Source, *edits: tuple[int, int, str], applicability: Applicability = Applicability.SAFE, code: str = "KT1"
) -> Finding:
    fix = Fix("Fix it", applicability, tuple(Edit(source, Span(start, end), text) for start, end, text in edits))
    return Finding(code, "name", Severity.ERROR, code, source, Span(edits[0][0], edits[0][1]), fix=fix)


@st.composite
def sources_and_edits(draw: st.DrawFn) -> tuple[Source, list[Edit]]:
    source = Source("f.yaml", draw(st.text()))
    bounds = sorted(draw(st.lists(st.integers(0, len(source.text)), max_size=10)))
    pairs = zip(bounds[::2], bounds[1::2], strict=False)
    return source, [Edit(source, Span(start, end), draw(st.text())) for start, end in pairs]


@given(sources_and_edits())
def test_characters_outside_the_edits_are_unchanged(case: tuple[Source, list[Edit]]) -> None:
    source, edits = case
    new_text = apply_edits(source, edits)
    offset = position = 0

    for edit in sorted(edits, key=lambda edit: edit.span):
        kept = source.text[offset : edit.span.start]
        assert new_text[position:].startswith(kept + edit.replacement)
        position += len(kept) + len(edit.replacement)
        offset = edit.span.end
    assert new_text[position:] == source.text[offset:]


@given(sources_and_edits())
def test_the_order_of_edits_at_different_places_does_not_matter(case: tuple[Source, list[Edit]]) -> None:
    source, edits = case
    distinct = list({edit.span: edit for edit in edits}.values())

    assert apply_edits(source, distinct) == apply_edits(source, reversed(distinct))


@given(st.text())
def test_no_edit_changes_nothing(text: str) -> None:
    assert apply_edits(Source("f.yaml", text), []) == text


def test_insertions_at_one_offset_keep_their_order() -> None:
    source = Source("f.yaml", "ab")
    edits = [Edit(source, Span(1, 2), "X"), Edit(source, Span(1, 1), "1"), Edit(source, Span(1, 1), "2")]

    assert apply_edits(source, edits) == "a12X"


@pytest.mark.parametrize(("first", "second"), [((0, 2), (1, 3)), ((0, 2), (0, 2)), ((0, 3), (1, 1))])
def test_overlapping_edits_are_refused(first: tuple[int, int], second: tuple[int, int]) -> None:
    source = Source("f.yaml", "abcd")

    with pytest.raises(OverlapError, match=r"f\.yaml"):
        apply_edits(source, [Edit(source, Span(*first), ""), Edit(source, Span(*second), "")])


def test_an_edit_of_another_source_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be applied"):
        apply_edits(Source("a.yaml", "a"), [Edit(Source("b.yaml", "a"), Span(0, 1), "")])


@pytest.mark.parametrize("span", [Span(0, 5), Span(-1, 1), Span(2, 1)])
def test_an_edit_outside_the_text_is_refused(span: Span) -> None:
    source = Source("a.yaml", "abc")

    with pytest.raises(ValueError, match="outside the text"):
        apply_edits(source, [Edit(source, span, "")])


def test_safe_takes_safe_fixes_only() -> None:
    source = Source("f.yaml", "abcdef")
    safe = finding(source, (0, 1, "x"))
    unsafe = finding(source, (2, 3, "x"), applicability=Applicability.UNSAFE)
    display = finding(source, (4, 5, "x"), applicability=Applicability.DISPLAY)

    assert select_fixes([safe, unsafe, display], Applicability.SAFE) == ((safe,), ())
    assert select_fixes([safe, unsafe, display], Applicability.UNSAFE) == ((safe, unsafe), ())


@pytest.mark.parametrize(
    ("first", "second"),
    [([(0, 3, "x")], [(2, 4, "y")]), ([(0, 3, "x")], [(1, 1, "y")]), ([(1, 1, "x")], [(1, 1, "y")])],
)
def test_of_two_fixes_for_one_place_the_second_waits(
    first: list[tuple[int, int, str]], second: list[tuple[int, int, str]]
) -> None:
    source = Source("f.yaml", "abcdef")
    winner, loser = finding(source, *first, code="KT1"), finding(source, *second, code="KT2")

    assert select_fixes([loser, winner], Applicability.SAFE) == ((winner,), (loser,))


def test_a_fix_is_taken_whole_or_not_at_all() -> None:
    source = Source("f.yaml", "abcdef")
    first, second = finding(source, (0, 2, "x")), finding(source, (1, 2, "y"), (4, 5, "y"))

    assert collect_edits(select_fixes([first, second], Applicability.SAFE).chosen) == {
        source: first.fix.edits if first.fix else ()
    }


def test_neighbouring_fixes_go_together() -> None:
    source = Source("f.yaml", "abcdef")
    fixes = [finding(source, (0, 2, "x")), finding(source, (2, 2, "y")), finding(source, (2, 4, "z"))]

    assert select_fixes(fixes, Applicability.SAFE).chosen == tuple(fixes)


def test_a_fix_that_two_findings_share_is_applied_once() -> None:
    source = Source("f.yaml", "abcdef")
    first, second = finding(source, (0, 1, "x"), code="KT1"), finding(source, (0, 1, "x"), code="KT2")
    chosen = select_fixes([first, second], Applicability.SAFE).chosen

    assert chosen == (first, second)
    assert apply_edits(source, collect_edits(chosen)[source]) == "xbcdef"


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.text("xy", max_size=2)), max_size=12))
def test_chosen_fixes_can_always_be_applied(places: list[tuple[int, int, str]]) -> None:
    source = Source("f.yaml", "abcdefgh")
    findings = [finding(source, (min(a, b), max(a, b), text)) for a, b, text in places]
    chosen, skipped = select_fixes(findings, Applicability.SAFE)

    assert len(chosen) + len(skipped) == len(findings)
    assert (chosen, skipped) == select_fixes(reversed(findings), Applicability.SAFE)
    apply_edits(source, collect_edits(chosen).get(source, ()))


def test_the_same_text_has_no_diff() -> None:
    assert unified_diff(Source("f.yaml", "a\n"), "a\n") == ""


def test_a_diff_names_the_file_and_the_lines() -> None:
    assert unified_diff(Source("f.yaml", "a\nb\n"), "a\nc\n") == "--- f.yaml\n+++ f.yaml\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git to apply the patch")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\nb\n", "a\nc\n"),
        ("a\nb", "a\nb\n"),
        ("a\nb\n", "a\nb"),
        ("a\r\nb\r\n", "a\r\nc\r\n"),
        ("a\x0cx\nb\n", "a\x0cx\nc\n"),
        ("größe: 速い\n", "größe: 𐐀\n"),
    ],
)
def test_git_applies_the_diff(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(before.encode())
    patch = unified_diff(Source("f.yaml", before), after).encode()

    subprocess.run(["git", "apply", "-p0", "--whitespace=nowarn", "-"], cwd=tmp_path, input=patch, check=True)

    assert path.read_bytes() == after.encode()
