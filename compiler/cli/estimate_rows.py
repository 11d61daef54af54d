"""The options of `kaitoc estimate` on the rows of the data: how long they are, and how the loop takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from kaitoc.compiler.api.estimating import Subject
from kaitoc.compiler.cli.options import with_options
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory.batches import (
    NUM_BATCHES,
    Batching,
    Lengths,
    assumed_lengths,
    measured_lengths,
    parse_lengths,
)
from kaitoc.compiler.memory.data_lengths import longest_row_tokens, row_tokens
from kaitoc.compiler.memory.estimate import DEFAULT_SEQ_LEN_TOKENS

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class RowOptions:
    """The lengths of the rows, measured of data or assumed, and how rows come into batches."""

    data: str | None
    lengths: str | None
    batching: str | None
    holds_outputs: bool

    @property
    def has_lengths(self) -> bool:
        """Return whether lengths are stated."""
        return self.data is not None or self.lengths is not None

    def seq_len_tokens(self, stated: int | None, *, has_manifests: bool) -> int | None:
        """Return the length of the longest row beside `--seq-len`; raises `DataLengthError` and `LengthsError`."""
        if self.data is not None and self.batching != Batching.PACKED.value:
            return min(longest_row_tokens(self.data), stated or DEFAULT_SEQ_LEN_TOKENS)
        if self.lengths is not None and stated is None and not has_manifests:
            return parse_lengths(self.lengths)[2]
        return stated

    def varied(self, subject: Subject) -> tuple[Subject, Lengths | None]:
        """Return a fine-tune with the longest batch of the lengths that are stated, and these; raises `LengthsError`.

        Packed rows are as long as the cap, however long the rows in them are.
        """
        workload = subject.workload
        if self.data is not None:
            return subject, measured_lengths(row_tokens(self.data), workload.seq_len_tokens)
        if self.lengths is None:
            return subject, None
        num_rows = NUM_BATCHES * workload.batch_size
        lengths = assumed_lengths(*parse_lengths(self.lengths), workload.seq_len_tokens, num_rows)
        if subject.loading.batching is Batching.PACKED:
            return subject, lengths
        return replace(subject, workload=replace(workload, seq_len_tokens=lengths.longest)), lengths


_OPTIONS = (
    click.option("--data", metavar="P", help="Take the lengths of the rows from this data, estimated from their text."),
    click.option("--lengths", metavar="P50,P90,MAX", help="Assume these lengths of the rows, in tokens."),
    click.option(
        "--batching",
        type=click.Choice([one.value for one in Batching]),
        help="How rows come together in a batch: at random, with rows of similar length (group_by_length), or packed.",
    ),
    click.option(
        "--holds-outputs", is_flag=True, help="The training loop holds a step's outputs through the next one."
    ),
)


def row_options(command: F) -> F:
    """Add the options of `RowOptions`."""
    return with_options(command, _OPTIONS)
