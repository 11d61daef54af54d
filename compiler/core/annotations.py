"""The names that annotations are made of, without `typing`: importing that takes a fortieth of a check.

Type checkers see the standard library's names. While a program runs nothing reads an annotation of these modules, so
the names stand for nothing there. Models that pydantic reads, and what asks for type hints, import `typing` itself.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import IO, Any, Generic, Literal, NoReturn, Protocol, TextIO, TypeAlias, TypeVar, cast
else:

    class _Name:
        """A name that can be subscripted and be a base class."""

        __slots__ = ()

        def __class_getitem__(cls, _parameters: object) -> type:
            return cls

    class Protocol(_Name):
        """A base class that adds nothing."""

        __slots__ = ()

    class Generic(_Name):
        """A base class that adds nothing."""

        __slots__ = ()

    IO = Any = Literal = NoReturn = TextIO = TypeAlias = _Name

    def TypeVar(name: str, **_options: object) -> type:  # noqa: N802  (what it stands for)
        """Return something that annotations and bases can be subscripted with."""
        return type(name, (), {})

    def cast(_kind: object, value: object) -> object:
        """Return the value, as the standard library does."""
        return value


__all__ = ["IO", "TYPE_CHECKING", "Any", "Generic", "Literal", "NoReturn", "Protocol", "TextIO", "TypeAlias",
           "TypeVar", "cast"]  # fmt: skip
