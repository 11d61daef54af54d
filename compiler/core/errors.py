"""The base of every error that a user can put right; each kind of fault has a class of its own below it."""

from __future__ import annotations


class KaitocError(Exception):
    """Something the user can put right; `str(error)` says what is wrong and what to do.

    `path` names the file, `line` and `column` (both from 1) the place in it; each is None where there is none.
    """

    def __init__(
        self, message: str = "", *, path: str | None = None, line: int | None = None, column: int | None = None
    ) -> None:
        """Keep the message, which names the place too, and the place."""
        super().__init__(message)
        self.path = path
        self.line = line
        self.column = column
