"""Sizes as linear forms, so that one derivation of a model serves every batch and sequence length."""

from __future__ import annotations

from kaitoc.compiler.core.tuples import NamedTuple

INT64_BYTES = 8
FLOAT32_BYTES = 4
HALF_BYTES = 2


class Size(NamedTuple):
    """Bytes as a linear form: `fixed + per_token * B*S + per_pair * B*S*S + per_position * S`.

    `B` is the batch size and `S` the padded sequence length, so a hidden state is `per_token`, an attention score
    matrix `per_pair`, and a rotary table shared by the batch `per_position`. Sizes add, subtract and multiply by whole
    numbers as the forms do, where tuples would concatenate and repeat.
    """

    fixed: int = 0
    per_token: int = 0
    per_pair: int = 0
    per_position: int = 0

    def __add__(self, other: Size) -> Size:  # type: ignore[override]  # sums instead of concatenating
        """Return the sum of two sizes."""
        return _new(Size, (self[0] + other[0], self[1] + other[1], self[2] + other[2], self[3] + other[3]))

    def __sub__(self, other: Size) -> Size:
        """Return the difference of two sizes."""
        return _new(Size, (self[0] - other[0], self[1] - other[1], self[2] - other[2], self[3] - other[3]))

    def __mul__(self, factor: int) -> Size:  # type: ignore[override]  # multiplies instead of repeating
        """Return this size a whole number of times."""
        return _new(Size, (self[0] * factor, self[1] * factor, self[2] * factor, self[3] * factor))

    def __rmul__(self, factor: int) -> Size:  # type: ignore[override]  # as above
        """Return this size a whole number of times."""
        return self * factor

    def scaled(self, numerator: int, denominator: int) -> Size:
        """Return this size times a fraction, each part rounded down."""
        if numerator == denominator:
            return self
        fixed, per_token, per_pair, per_position = self
        return Size(
            fixed * numerator // denominator,
            per_token * numerator // denominator,
            per_pair * numerator // denominator,
            per_position * numerator // denominator,
        )

    def at(self, batch_size: int, seq_len_tokens: int) -> int:
        """Return the bytes for one batch size and sequence length."""
        num_tokens = batch_size * seq_len_tokens
        return self[0] + self[1] * num_tokens + self[2] * num_tokens * seq_len_tokens + self[3] * seq_len_tokens

    def covers(self, other: Size) -> bool:
        """Return whether this size is at least `other` for every batch size and sequence length."""
        return self[0] >= other[0] and self[1] >= other[1] and self[2] >= other[2] and self[3] >= other[3]


ZERO = Size()
_new = tuple.__new__  # sums are most of a derivation; the constructor of a named tuple takes twice as long


def fixed(num_bytes: int) -> Size:
    """Return a size that does not depend on the batch."""
    return Size(num_bytes, 0, 0, 0)


def per_token(num_bytes: int) -> Size:
    """Return a size of so many bytes for every token of the batch."""
    return Size(0, num_bytes, 0, 0)


def per_pair(num_bytes: int) -> Size:
    """Return a size of so many bytes for every pair of tokens of one sequence."""
    return Size(0, 0, num_bytes, 0)
