"""The quick named tuples behave as the standard library's do."""

from __future__ import annotations

import pickle
import typing
from collections.abc import Callable
from typing import Any

import pytest

from kaitoc.compiler.core.tuples import NamedTuple


class Lean(NamedTuple):
    """A place."""

    line: int
    name: str = "a"

    def next(self) -> Lean:
        """Return the place below."""
        return self._replace(line=self.line + 1)


class Standard(typing.NamedTuple):
    """A place."""

    line: int
    name: str = "a"


@pytest.mark.parametrize(
    "of",
    [
        lambda cls: cls(1) == (1, "a"),
        lambda cls: repr(cls(1, name="b")).partition("(")[2],
        lambda cls: hash(cls(1)),
        lambda cls: cls(2)._asdict(),
        lambda cls: cls._fields,
        lambda cls: cls._field_defaults,
        lambda cls: cls.__match_args__,
        lambda cls: cls.__doc__,
        lambda cls: cls.__slots__,
        lambda cls: cls.__module__,
        lambda cls: cls.__mro__[1:],
        lambda cls: sorted(cls.__annotations__),
        lambda cls: [*cls(3)],
        lambda cls: cls(3)[0],
    ],
)
def test_a_class_and_its_tuples_are_as_the_standard_ones(of: Callable[[Any], object]) -> None:
    assert of(Lean) == of(Standard)


@pytest.mark.parametrize("wrong", [{}, {"line": 1, "other": 2}, {"name": "b"}])
def test_wrong_arguments_are_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"line|other"):
        Lean(**wrong)


def test_methods_are_its_own() -> None:
    assert Lean(1).next() == Lean(2)


def test_it_survives_pickling() -> None:
    copied = pickle.loads(pickle.dumps(Lean(4, "b")))  # noqa: S301

    assert copied == Lean(4, "b")
    assert type(copied) is Lean


def test_a_field_without_default_behind_one_that_has_one_is_refused() -> None:
    with pytest.raises(TypeError, match="Wrong: a field without default"):

        class Wrong(NamedTuple):
            name: str = ""
            line: int  # type: ignore[misc]  # the order is what is tested
