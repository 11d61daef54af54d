"""How long the rows of a data set are, as far as that is stated: measured, or assumed by three numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kaitoc.compiler.core.records import dataclass

if TYPE_CHECKING:
    from kaitoc.compiler.memory.batches import Lengths


@dataclass(frozen=True, slots=True)
class RowLengths:
    """Tokens of rows before any is cut: `measured` has (tokens, rows) in ascending order, `assumed` p50, p90 and max.

    Counted by length, so that those of a million rows are still a small key.
    """

    measured: tuple[tuple[int, int], ...] = ()
    assumed: tuple[int, int, int] | None = None

    @property
    def longest(self) -> int:
        """Return the tokens of the longest row."""
        return self.assumed[2] if self.assumed is not None else self.measured[-1][0]

    def cut_at(self, cap_tokens: int, batch_size: int) -> Lengths:
        """Return the rows as they are cut at a length; of assumed ones as many as are drawn in batches of a size."""
        from kaitoc.compiler.memory.batches import NUM_BATCHES, assumed_lengths, measured_lengths  # draws at random

        if self.assumed is not None:
            tokens = assumed_lengths(*self.assumed, self.longest, NUM_BATCHES * batch_size).tokens
        else:
            tokens = tuple(length for length, count in self.measured for _ in range(count))
        return measured_lengths(tokens, cap_tokens)


def measured_rows(tokens: Sequence[int]) -> RowLengths:
    """Return the lengths of rows whose tokens were counted; at least one row is needed."""
    return RowLengths(measured=tuple(sorted(Counter(tokens).items())))


def stated_rows(data: str | None, lengths: str | None) -> RowLengths | None:
    """Return the row lengths of `--data` or `--lengths`, None where neither is given.

    Raises `LengthsError` and `DataLengthError`.
    """
    if data is None and lengths is None:
        return None
    from kaitoc.compiler.memory.batches import LengthsError, parse_lengths  # seldom asked for
    from kaitoc.compiler.memory.data_lengths import row_tokens

    if data is not None and lengths is not None:
        raise LengthsError("--lengths and --data are mutually exclusive")
    return measured_rows(row_tokens(data)) if data is not None else RowLengths(assumed=parse_lengths(str(lengths)))
