"""The size of one batch."""

from __future__ import annotations

from kaitoc.compiler.core.tuples import NamedTuple


class BatchShape(NamedTuple):
    """The size of a batch: its rows, and the tokens that all of them are padded to."""

    num_rows: int
    num_tokens: int
