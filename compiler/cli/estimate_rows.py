"""The options of `kaitoc estimate` on the rows of the data: how long they are, and how the loop takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from kaitoc.compiler.cli.option_types import Choice
from kaitoc.compiler.cli.options import length_options, with_options
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.batches import Batching, LengthsError
from kaitoc.compiler.memory.estimate import DEFAULT_SEQ_LEN_TOKENS, EstimateError
from kaitoc.compiler.memory.row_lengths import RowLengths, stated_rows

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class RowOptions:
    """The lengths of the rows, measured of data or assumed, and how rows come into batches."""

    data: str | None = None
    lengths: str | None = None
    batching: str | None = None
    holds_outputs: bool = False

    @property
    def stated(self) -> RowLengths | None:
        """Resolve the stated row lengths, None when none are; raises `DataLengthError` and `LengthsError`."""
        return stated_rows(self.data, self.lengths)

    def require_of_manifests(self) -> None:
        """Raise `EstimateError` for options that manifests answer."""
        if self.batching is not None:
            raise EstimateError(
                "--batching cannot be combined with manifests: set `packing` or `group_by_length` in the manifest"
            )
        if self.holds_outputs:
            raise EstimateError(
                "--holds-outputs cannot be combined with manifests: neither Kaito nor `kaitoc run` keeps a "
                "step's outputs"
            )

    def longest_tokens(self, rows: RowLengths, seq_len_tokens: int | None) -> int | None:
        """Return the length of the longest batch of a run that is described, cut at `--seq-len`; packed rows fill it.

        Raises `LengthsError` for assumed rows that would be cut.
        """
        is_packed = self.batching == Batching.PACKED.value
        if self.data is not None or rows.longest is None:
            return seq_len_tokens if is_packed else rows.longest_under(seq_len_tokens or DEFAULT_SEQ_LEN_TOKENS)
        cap = seq_len_tokens or (DEFAULT_SEQ_LEN_TOKENS if is_packed else rows.longest)
        if rows.longest > cap:
            raise LengthsError(
                f"--lengths: max {rows.longest:,} exceeds the {cap:,} tokens at which sequences are truncated"
            )
        return seq_len_tokens if is_packed else rows.longest

    def cap_tokens(self, rows: RowLengths, seq_len_tokens: int | None) -> int:
        """Return the length at which rows are cut, and up to which they would be packed."""
        if seq_len_tokens is not None:
            return seq_len_tokens
        assumed = rows.longest if self.data is None else None
        return max(DEFAULT_SEQ_LEN_TOKENS, assumed or 0)


_OPTIONS = (
    *length_options,
    click.option(
        "--batching",
        type=Choice([one.value for one in Batching]),
        help="How rows are batched: at random, by similar length (group_by_length), or packed.",
    ),
    click.option(
        "--holds-outputs", is_flag=True, help="The training loop keeps a step's outputs until the next one ends."
    ),
)


def row_options(command: F) -> F:
    """Add the options of `RowOptions`."""
    return with_options(command, _OPTIONS)
