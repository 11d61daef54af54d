"""The batches that a trainer draws from rows of different lengths."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.memory.batches import (
    Batching,
    BatchShape,
    Lengths,
    LengthsError,
    Loading,
    assumed_lengths,
    batches,
    measured_lengths,
    parse_lengths,
)

ROWS = st.lists(st.integers(1, 512), min_size=1, max_size=60)
LOADINGS = st.builds(Loading, st.sampled_from([Batching.RANDOM, Batching.GROUPED]))


@given(ROWS, LOADINGS, st.integers(1, 5), st.integers(0, 9))
def test_an_epoch_holds_every_row_once_and_its_longest_batch_is_as_long_as_the_longest_row(
    rows: list[int], loading: Loading, batch_size: int, seed: int
) -> None:
    num_batches = -(-len(rows) // batch_size)
    shapes = batches(measured_lengths(rows, 512), loading, batch_size, seed, num_batches)

    assert sum(shape.num_rows for shape in shapes) == len(rows)
    assert max(shape.num_tokens for shape in shapes) == max(rows)


@given(ROWS, st.integers(1, 9))
def test_packed_rows_hold_all_tokens_and_never_outgrow_the_cap(rows: list[int], seed: int) -> None:
    lengths = measured_lengths(rows, 512)
    (shape, *others) = batches(lengths, Loading(Batching.PACKED), 1, seed, len(rows))

    epoch = [shape, *others]
    assert all(packed.num_tokens <= 512 for packed in epoch)
    assert sum(packed.num_tokens for packed in epoch) >= sum(rows)


def test_the_first_of_grouped_batches_is_the_longest_as_transformers_has_it() -> None:
    lengths = assumed_lengths(100, 300, 1000, 1000, 400)

    for seed in range(5):
        assert batches(lengths, Loading(Batching.GROUPED), 4, seed, 100)[0].num_tokens == 1000


def test_grouped_batches_are_those_of_the_trainers_sampler() -> None:
    pytest.importorskip("transformers")
    from transformers.trainer_pt_utils import get_length_grouped_indices

    rows = [17 * number % 97 + 1 for number in range(96)]
    indices = get_length_grouped_indices(rows, 4)
    expected = [max(rows[index] for index in indices[start : start + 4]) for start in range(0, 96, 4)]
    found = [shape.num_tokens for shape in batches(measured_lengths(rows, 512), Loading(Batching.GROUPED), 4, 0, 24)]

    assert found[0] == expected[0] == max(rows)
    assert sum(found) == pytest.approx(sum(expected), rel=0.1)  # two orders of the same rows
    assert _num_rises(found) == _num_rises(expected)


def _num_rises(lengths: list[int]) -> int:
    """Return how often a batch is longer than the one before: at the start of each megabatch."""
    return sum(after > before for before, after in pairwise(lengths[1:]))


def test_lengths_are_rounded_up_to_the_collators_multiple() -> None:
    shapes = batches(measured_lengths([3, 9], 64), Loading(pad_to_multiple_of=8), 1, 0, 2)

    assert sorted(shapes) == [BatchShape(1, 8), BatchShape(1, 16)]


def test_longer_rows_are_cut() -> None:
    assert measured_lengths([5, 900], 64) == Lengths((5, 64), 64)


@pytest.mark.parametrize(("p50", "p90", "longest"), [(300, 800, 2048), (7, 7, 7), (1, 1, 900)])
def test_assumed_lengths_have_the_percentiles_that_were_asked_for(p50: int, p90: int, longest: int) -> None:
    lengths = assumed_lengths(p50, p90, longest, 2048, 800)

    assert (lengths.percentile(0.5), lengths.percentile(0.9), lengths.longest) == (p50, p90, longest)
    assert list(lengths.tokens) == sorted(lengths.tokens)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("900,300,1000", "must not decrease"),
        ("1,2000,1000", "must not decrease"),
        ("0,3,9", "at least 1"),
        ("1,2", "p50,p90,max"),
        ("a,b,c", "p50,p90,max"),
        ("-1,2,3", "p50,p90,max"),
    ],
)
def test_lengths_that_no_data_has_are_refused(text: str, words: str) -> None:
    with pytest.raises(LengthsError, match=words):
        parse_lengths(text)


def test_a_maximum_beyond_the_cap_and_data_without_rows_are_refused() -> None:
    with pytest.raises(LengthsError, match="exceeds the 512 tokens"):
        assumed_lengths(10, 20, 4096, 512, 8)
    with pytest.raises(LengthsError, match="no rows"):
        measured_lengths([], 512)
