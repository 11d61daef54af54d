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

    Counted by length, so that those of a million rows are still a small key. Where it has neither, all that is known is
    where rows are cut, and every length up to there is as likely as another.
    """

    measured: tuple[tuple[int, int], ...] = ()
    assumed: tuple[int, int, int] | None = None

    @property
    def longest(self) -> int | None:
        """Return the tokens of the longest row, None where it is the cap's."""
        if self.assumed is not None:
            return self.assumed[2]
        return self.measured[-1][0] if self.measured else None

    def longest_under(self, cap_tokens: int) -> int:
        """Return the tokens of the longest row as it is cut."""
        return cap_tokens if self.longest is None else min(self.longest, cap_tokens)

    def cut_at(self, cap_tokens: int, batch_size: int) -> Lengths:
        """Return the rows as they are cut at a length; of assumed ones as many as are drawn in batches of a size."""
        from kaitoc.compiler.memory.batches import (  # draws at random
            NUM_BATCHES,
            assumed_lengths,
            even_lengths,
            measured_lengths,
        )

        num_rows = NUM_BATCHES * batch_size
        if self.longest is None:
            return even_lengths(cap_tokens, num_rows)
        if self.assumed is not None:
            tokens = assumed_lengths(*self.assumed, self.longest, num_rows).tokens
        else:
            tokens = tuple(length for length, count in self.measured for _ in range(count))
        return measured_lengths(tokens, cap_tokens)


UP_TO_THE_CAP = RowLengths()
"""Nothing is known of the rows but where they are cut."""

CAP = "cap"
"""The word of `--lengths` for that."""


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
    if data is not None:
        return measured_rows(row_tokens(data))
    return UP_TO_THE_CAP if lengths == CAP else RowLengths(assumed=parse_lengths(str(lengths)))
