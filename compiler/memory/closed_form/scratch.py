"""Scratch memory of an operation that takes several tensors one after the other, as a loop over chunks does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.memory.closed_form.size import ZERO, Size, fixed

NOTHING = -1
"""The number of a tensor of no bytes, such as a cast to the type that is there."""


class LastChunk(NamedTuple):
    """The size of a tensor of the last chunk, which has what the others leave of all tokens but each row's last.

    `num_unscored` is 0 for a loss that scores the last ones too.
    """

    per_token: int
    chunk_tokens: int
    num_unscored: int = 1

    def __mul__(self, factor: int) -> LastChunk:  # type: ignore[override]  # multiplies instead of repeating
        """Return a tensor of so many times the bytes for each token."""
        return self._replace(per_token=self.per_token * factor)

    def at(self, batch_size: int, seq_len_tokens: int) -> int:
        """Return the bytes for one batch size and sequence length."""
        num_tokens = batch_size * (seq_len_tokens - self.num_unscored)
        return self.per_token * ((num_tokens - 1) % self.chunk_tokens + 1)

    @property
    def largest(self) -> Size:
        """Return the size in a chunk that is full."""
        return fixed(self.per_token * self.chunk_tokens)


class Piece(NamedTuple):
    """A tensor of scratch memory; it ends just before the piece numbered `until` comes, None for with the operation."""

    size: Size | LastChunk
    until: int | None = None

    @property
    def largest(self) -> Size:
        """Return the size, that of the last chunk as if it were full."""
        return self.size.largest if isinstance(self.size, LastChunk) else self.size


class Scratch:
    """Writes tensors down as they are taken and given up."""

    def __init__(self) -> None:
        self._sizes: list[Size | LastChunk] = []
        self._until: dict[int, int] = {}

    def take(self, size: Size | LastChunk) -> int:
        """Add a tensor; return its number."""
        if size == ZERO:
            return NOTHING
        self._sizes.append(size)
        return len(self._sizes) - 1

    def give_up(self, *numbers: int) -> None:
        """End tensors that have not ended yet."""
        for number in numbers:
            self._until.setdefault(number, len(self._sizes))

    def pieces(self) -> tuple[Piece, ...]:
        """Return the tensors in the order in which they are taken."""
        return tuple(Piece(size, self._until.get(number)) for number, size in enumerate(self._sizes))


def together(*sizes: Size) -> tuple[Piece, ...]:
    """Return tensors that are all there until the operation ends."""
    return tuple(map(Piece, sizes))


def in_turn(*turns: Iterable[Piece]) -> tuple[Piece, ...]:
    """Return the pieces of one turn after the other; each of them ends by itself."""
    pieces: list[Piece] = []
    for turn in turns:
        before = len(pieces)
        pieces += [Piece(size, until + before if until is not None else None) for size, until in turn]
    return tuple(pieces)


def most(pieces: Sequence[Piece]) -> Size:
    """Sum the pieces at the moment at which most bytes are taken, the last one of several that depend on the batch."""
    return maxima(pieces)[-1]


def maxima(pieces: Sequence[Piece]) -> Sequence[Size]:
    """Sum the pieces at every moment at which most bytes can be taken, which the batch decides on."""
    highest: list[Size] = []
    for number, piece in enumerate(pieces):
        others = (one.largest for one in pieces[:number] if one.until is None or one.until > number)
        live = sum(others, piece.largest)
        if not any(one.covers(live) and one != live for one in highest):
            highest = [*(one for one in highest if not live.covers(one)), live]
    return highest or (ZERO,)
