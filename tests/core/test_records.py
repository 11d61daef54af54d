"""The quick data classes behave as the standard library's do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import pprint
from collections.abc import Callable
from typing import Any, ClassVar

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
    items: list[int] = dataclasses.field(default_factory=list)


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


@pytest.mark.parametrize(("arguments", "complaint"), [((), "number"), ((1, 2), "positional argument")])
def test_the_first_instance_of_a_class_is_refused_wrong_arguments_too(
    arguments: tuple[int, ...], complaint: str
) -> None:
    @dataclass(frozen=True, slots=True)
    class Fresh:
        number: int

    with pytest.raises(TypeError, match=complaint):
        Fresh(*arguments)


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


@pytest.mark.parametrize("number", [1, 100])
def test_the_first_instances_and_the_later_ones_are_made_alike(number: int) -> None:
    @dataclass(frozen=True, slots=True)
    class Fresh:
        """Not compiled yet."""

        number: int
        name: str = "a"
        items: list[int] = field(default_factory=list)

    made = [Fresh(index, items=[index]) for index in range(number)][-1]
    assert (made.number, made.name, made.items) == (number - 1, "a", [number - 1])
    for wrong in ((), (1, "a", [], 4)):
        with pytest.raises(TypeError, match="argument"):
            Fresh(*wrong)
    with pytest.raises(TypeError, match="multiple values for argument 'number'"):
        Fresh(1, number=1)  # type: ignore[misc]  # the error is what is tested
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        Fresh(1, other=1)  # type: ignore[call-arg]  # the error is what is tested


@pytest.mark.parametrize("attribute", ["__match_args__", "__slots__", "__doc__", "__module__"])
def test_a_class_has_the_attributes_of_a_standard_one(attribute: str) -> None:
    class Plain:
        """A class."""

        number: int
        name: str = "a"

    lean, standard = (make(frozen=True, slots=True)(Plain) for make in (dataclass, dataclasses.dataclass))
    assert getattr(lean, attribute) == getattr(standard, attribute)


@pytest.mark.parametrize("attribute", ["name", "type", "default", "init", "repr", "compare", "hash", "kw_only"])
def test_a_field_has_the_attributes_of_a_standard_one(attribute: str) -> None:
    def values(record: Any) -> list[object]:
        return [getattr(item, attribute) for item in dataclasses.fields(record)]

    assert values(Lean) == values(Standard)


def test_a_list_that_all_records_would_share_is_refused() -> None:
    with pytest.raises(ValueError, match="default_factory"):

        @dataclass(frozen=True, slots=True)
        class Shared:
            """A class with a fault."""

            items: list[int] = []  # noqa: RUF012  # the fault is what is tested


def test_records_are_shown_prettily() -> None:
    assert pprint.pformat(Lean(1)) == repr(Lean(1))


@dataclass(frozen=True, slots=True)
class Counted:
    number: int
    seen: list[int] = field(default_factory=list, init=False)
    unit: ClassVar[str] = "B"


def test_a_field_that_is_no_argument_has_its_default() -> None:
    assert Counted(1).seen == []
    assert dataclasses.replace(Counted(1), number=2).seen == []
    with pytest.raises(TypeError, match="seen"):
        Counted(1, seen=[2])  # type: ignore[call-arg]  # the error is what is tested


def test_a_class_variable_is_no_field() -> None:
    assert [item.name for item in dataclasses.fields(Counted)] == ["number", "seen"]
    assert Counted.unit == "B"


def with_post_init() -> None:
    @dataclass(frozen=True, slots=True)
    class Record:
        number: int

        def __post_init__(self) -> None: ...


def with_inherited_post_init() -> None:
    class Base:
        def __post_init__(self) -> None: ...

    @dataclass()
    class Record(Base):
        number: int


def with_keyword_only_field() -> None:
    @dataclass(frozen=True)
    class Record:
        number: int = field(kw_only=True)


def with_keyword_only_marker() -> None:
    @dataclass(frozen=True)
    class Record:
        _: dataclasses.KW_ONLY
        number: int


def with_init_var() -> None:
    @dataclass()
    class Record:
        number: dataclasses.InitVar[int]


def with_base() -> None:
    @dataclass(frozen=True, slots=True)
    class Record(Quiet):
        more: int = 0


def with_init() -> None:
    @dataclass(frozen=True)
    class Record:
        number: int

        def __init__(self) -> None: ...


def with_setattr() -> None:
    @dataclass(frozen=True)
    class Record:
        number: int

        def __setattr__(self, name: str, value: object) -> None: ...


def with_state() -> None:
    @dataclass(frozen=True, slots=True)
    class Record:
        number: int

        def __getstate__(self) -> object: ...


def with_equality_alone() -> None:
    @dataclass(frozen=True)
    class Record:
        number: int

        def __eq__(self, other: object) -> bool: ...


def with_field_hash() -> None:
    @dataclass(frozen=True)
    class Record:
        number: int = field(hash=False)


def with_valueless_field() -> None:
    @dataclass(frozen=True)
    class Record:
        number: int = field(init=False)


def with_default_before_none() -> None:
    @dataclass(frozen=True)
    class Record:
        name: str = ""
        number: int  # type: ignore[misc]  # the order is what is tested


@pytest.mark.parametrize(
    ("define", "named"),
    [
        (with_post_init, "__post_init__"),
        (with_inherited_post_init, "__post_init__"),
        (with_keyword_only_field, "keyword-only"),
        (with_keyword_only_marker, "keyword-only"),
        (with_init_var, "InitVar"),
        (with_base, "Quiet"),
        (with_init, "__init__"),
        (with_setattr, "__setattr__"),
        (with_state, "__getstate__"),
        (with_equality_alone, "__hash__"),
        (with_field_hash, "hash"),
        (with_valueless_field, "without value"),
        (with_default_before_none, "default"),
    ],
)
def test_what_a_record_does_not_do_is_refused_where_it_is_defined(define: Callable[[], None], named: str) -> None:
    with pytest.raises(TypeError, match=rf"Record: .*{named}"):
        define()


@pytest.mark.parametrize("options", [{"order": True}, {"kw_only": True}, {"unsafe_hash": True}, {"weakref_slot": True}])
def test_an_option_that_a_record_does_not_know_is_refused(options: dict[str, bool]) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        dataclass(frozen=True, **options)  # type: ignore[call-overload]  # the refusal is what is tested


def test_without_options_a_record_is_open_and_compared_by_its_fields() -> None:
    @dataclass()
    class Plain:
        number: int

    record = Plain(1)
    record.number = 2
    record.more = 3  # type: ignore[attr-defined]  # it has no slots

    assert record == Plain(2)
    with pytest.raises(TypeError, match="unhashable"):
        hash(record)
