"""The quick data classes behave as the standard library's do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.records import dataclass, field


@dataclass(frozen=True, slots=True)
class Lean:
    number: int
    name: str = "a"
    items: list[int] = field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Standard:
    number: int
    name: str = "a"
    items: list[int] = field(default_factory=list)  # noqa: RUF009


@dataclass(frozen=True, slots=True)
class Quiet:
    number: int
    note: str = field(default="", repr=False, compare=False)


@dataclass(slots=True)
class Open:
    number: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    number: int


@dataclass(frozen=True, slots=True)
class Key:
    number: int
    name: str

    def __hash__(self) -> int:
        return 7


arguments = st.tuples(st.integers(), st.text(), st.lists(st.integers()))


@given(arguments)
def test_the_text_of_a_record_is_the_standard_one(given_arguments: tuple[Any, ...]) -> None:
    assert repr(Lean(*given_arguments)) == repr(Standard(*given_arguments)).replace("Standard", "Lean")


@given(arguments, arguments)
def test_records_are_equal_when_their_fields_are(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert (Lean(*one) == Lean(*other)) == (Standard(*one) == Standard(*other))


@given(st.integers(), st.text())
def test_equal_records_have_equal_hashes(number: int, name: str) -> None:
    assert hash(Lean(number, name, ())) == hash(Lean(number, name, ()))  # type: ignore[arg-type]  # lists have no hash


def test_a_field_can_be_left_out_of_text_comparison_and_hash() -> None:
    assert repr(Quiet(1, "a")) == "Quiet(number=1)"
    assert Quiet(1, "a") == Quiet(1, "b")
    assert hash(Quiet(1, "a")) == hash(Quiet(1, "b"))


def test_records_of_two_classes_differ() -> None:
    assert Open(1) != Identity(1)


def test_a_record_compared_by_identity_differs_from_its_equal() -> None:
    assert Identity(1) != Identity(1)


def test_a_hash_of_its_own_stays() -> None:
    assert hash(Key(1, "a")) == 7


def test_a_record_that_can_change_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Open())


def test_every_record_gets_a_list_of_its_own() -> None:
    assert Lean(1).items is not Lean(1).items


def test_a_frozen_record_refuses_changes() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="number"):
        Lean(1).number = 2  # type: ignore[misc]  # the refusal is what is tested
    with pytest.raises(dataclasses.FrozenInstanceError, match="number"):
        del Lean(1).number


def test_a_missing_argument_is_an_error() -> None:
    with pytest.raises(TypeError, match="number"):
        Lean()  # type: ignore[call-arg]  # the error is what is tested


def test_replace_fields_and_asdict_work_on_records() -> None:
    record = dataclasses.replace(Lean(1), name="b")
    assert dataclasses.asdict(record) == {"number": 1, "name": "b", "items": []}
    assert [item.name for item in dataclasses.fields(record)] == ["number", "name", "items"]


@pytest.mark.parametrize("record", [Lean(1, "b", [2]), Open(3)])
def test_records_survive_pickling_and_copying(record: Any) -> None:
    assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301
    assert copy.deepcopy(record) == record
