"""Data classes that are quick to define: start-up time is a feature, and a `check` defines nearly a hundred.

Up to Python 3.12 the standard library compiles every generated method by itself, about half a millisecond a class.
Here only `__init__` is compiled, once a class has many instances, and the other methods are shared. The standard
library's `fields`, `replace` and `asdict` work on records, and type checkers see the standard decorator. What the
standard one does and this one does not is refused where the class is defined.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from kaitoc.compiler.core.record_fields import MISSING, Field, StandardAttributes, field_of_standard

__all__ = ["dataclass", "field", "field_names", "replace"]

_NUM_BEFORE_COMPILING = 24
"""Instances whose fields are set in a loop; compiling `__init__` takes as long as that many of them."""


def _lean_dataclass(*, frozen: bool = False, slots: bool = False, eq: bool = True) -> Callable[[type], type]:
    """Return a decorator with the meaning of `dataclasses.dataclass` for these options."""

    def make(cls: type) -> type:
        own = cls.__dict__
        _refuse_methods(cls, frozen=frozen, slots=slots)
        has_own_repr, has_own_hash, has_own_eq = "__repr__" in own, "__hash__" in own, "__eq__" in own
        made: Any = _with_fields(cls, slots=slots)
        fields: tuple[Field, ...] = made.__record_fields__
        _refuse_fields(made, fields)
        _initialize_later(made, fields, frozen=frozen, slots=slots)
        if not has_own_repr:
            made.__repr__ = _repr
        if eq and not has_own_eq:
            _add_comparison(made, fields, is_hashable=frozen, has_own_hash=has_own_hash)
        if frozen:
            made.__setattr__, made.__delattr__ = _refuse_to_set, _refuse_to_delete
        if frozen and slots:
            _add_pickling(made, fields)
        return made  # type: ignore[no-any-return]  # a class with slots is a new one

    return make


def _with_fields(cls: Any, *, slots: bool) -> Any:
    """Return a class with the fields that it annotates, as `dataclasses.dataclass` does, which takes thrice as long.

    What is out of the ordinary is left to the standard library.
    """
    own, annotations = cls.__dict__, cls.__annotations__
    fields = [_field_of(name, text, own.get(name, MISSING)) for name, text in annotations.items()]
    plain = tuple(item for item in fields if item is not None)
    if len(plain) < len(fields) or not _is_plain(cls, slots=slots):
        return _with_standard_fields(cls, slots=slots)
    content = {
        "__match_args__": tuple([item.name for item in plain if item.init]),
        "__record_fields__": plain,
        **{name: StandardAttributes(name, plain) for name in ("__dataclass_fields__", "__dataclass_params__")},
    }
    if slots:
        return _with_slots(cls, {**own, **content}, tuple(annotations))
    for item in plain:
        if item.default is not MISSING:
            setattr(cls, item.name, item.default)
        elif item.name in own:
            delattr(cls, item.name)
    for name, value in content.items():
        setattr(cls, name, value)
    return cls


def _is_plain(cls: type, *, slots: bool) -> bool:
    """Whether a class can be made again with slots for nothing but its own fields."""
    return not slots or ("__slots__" not in cls.__dict__ and all(
        base.__dict__.get("__slots__") == () for base in cls.__mro__[1:-1]
    ))  # fmt: skip


def _with_slots(cls: Any, content: dict[str, Any], names: tuple[str, ...]) -> Any:
    for name in (*names, "__dict__", "__weakref__"):
        content.pop(name, None)
    made = type(cls)(cls.__name__, cls.__bases__, {**content, "__slots__": names})
    made.__qualname__ = cls.__qualname__
    return made


def _with_standard_fields(cls: Any, *, slots: bool) -> Any:
    import dataclasses  # only for what is out of the ordinary

    for name, value in list(cls.__dict__.items()):
        if isinstance(value, Field):
            setattr(cls, name, value.standard())
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    for item in made.__dataclass_fields__.values():
        if item._field_type.name == "_FIELD_INITVAR":  # what tells it from a ClassVar
            raise _unsupported(made, f"an InitVar, `{item.name}`")
    made.__record_fields__ = tuple(field_of_standard(item) for item in dataclasses.fields(made))
    return made


def _field_of(name: str, annotation: object, default: Any) -> Field | None:
    """Return a plain field, None for what is another thing or wrong."""
    if (
        not isinstance(annotation, str)
        or "ClassVar" in annotation
        or "InitVar" in annotation
        or "KW_ONLY" in annotation
    ):
        return None
    item = default if default.__class__ is Field else Field(default)
    if item.default.__class__.__hash__ is None:  # mutable, and shared by all instances
        return None
    item.name, item.annotation = name, annotation
    return item


def _refuse_methods(cls: type, *, frozen: bool, slots: bool) -> None:
    """Raise `TypeError` for what a class defines and would lose or never have called."""
    own = cls.__dict__
    generated = ["__init__"]
    if frozen:
        generated += ["__setattr__", "__delattr__"]
    if frozen and slots:
        generated += ["__getstate__", "__setstate__"]
    for name in generated:
        if name in own:
            raise _unsupported(cls, f"a `{name}` of its own")
    if hasattr(cls, "__post_init__"):
        raise _unsupported(cls, "`__post_init__`")
    if frozen and "__eq__" in own and own.get("__hash__") is None:
        raise _unsupported(cls, "an `__eq__` of its own without a `__hash__`")
    for base in cls.__mro__[1:]:
        if "__dataclass_fields__" in base.__dict__:
            raise _unsupported(cls, f"another data class, `{base.__qualname__}`, as its base")


def _refuse_fields(made: Any, fields: tuple[Field, ...]) -> None:
    """Raise `TypeError` for a field that the generated methods would treat in another way than it says."""
    default_name = ""
    for item in fields:
        if item.kw_only:
            raise _unsupported(made, f"a keyword-only field, `{item.name}`")
        if item.hash is not None:
            raise _unsupported(made, f"`hash` for one field, `{item.name}`")
        if not item.init:
            if not item.has_default:
                raise _unsupported(made, f"a field without value, `{item.name}`")
        elif item.has_default:
            default_name = item.name
        elif default_name:
            raise TypeError(
                f"{made.__qualname__}: `{item.name}` has no default but follows `{default_name}`, which has one"
            )


def _unsupported(cls: type, what: str) -> TypeError:
    return TypeError(f"{cls.__qualname__}: a record cannot have {what}; use dataclasses.dataclass")


def _initialize_later(cls: Any, fields: tuple[Field, ...], *, frozen: bool, slots: bool) -> None:
    """Give a class an `__init__` that sets the fields one by one, and puts a compiled one in its place when it pays."""
    places = [_Place(item, getattr(cls, item.name).__set__ if slots else None) for item in fields]
    num_left = _NUM_BEFORE_COMPILING

    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal num_left
        num_left -= 1
        if num_left < 0 or not _set_fields(self, places, args, kwargs):  # wrong arguments are Python's to complain of
            cls.__init__ = _initializer(cls, fields, frozen=frozen, slots=slots)
            cls.__init__(self, *args, **kwargs)

    cls.__init__ = initialize


_NOTHING: Any = object()


class _Place:
    """Where a field's value goes: by `set_value` in a class with slots, and what it is when it is not given."""

    __slots__ = ("default", "is_argument", "make", "name", "set_value")

    def __init__(self, item: Field, set_value: Callable[[Any, Any], None] | None) -> None:
        self.name = item.name
        self.is_argument = item.init
        self.default = item.default
        self.make = item.make_default
        self.set_value = set_value


def _set_fields(self: Any, places: list[_Place], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Set the fields of a new instance; return whether the arguments were right."""
    by_place, num_by_name = iter(args), 0
    for place in places:
        value = next(by_place, _NOTHING) if place.is_argument else _NOTHING
        if value is not _NOTHING:
            pass
        elif place.is_argument and place.name in kwargs:
            value = kwargs[place.name]
            num_by_name += 1
        else:
            value = place.make() if place.make is not None else place.default
            if value is MISSING:
                return False
        if place.set_value is not None:
            place.set_value(self, value)
        else:
            object.__setattr__(self, place.name, value)
    return num_by_name == len(kwargs) and next(by_place, _NOTHING) is _NOTHING


def _initializer(cls: type, fields: tuple[Field, ...], *, frozen: bool, slots: bool) -> Any:
    """Return an `__init__` that sets the fields; those of a frozen class past its refusal to be set."""
    names: dict[str, Any] = {"_missing": MISSING, "_set": object.__setattr__}
    parameters, body = [], []
    for item in fields:
        name = value = item.name
        if not item.init:
            names[f"_default_{name}"] = item.default
            names[f"_make_{name}"] = item.make_default
            value = f"_make_{name}()" if item.default is MISSING else f"_default_{name}"
        elif item.default is not MISSING:
            names[f"_default_{name}"] = item.default
            parameters.append(f"{name}=_default_{name}")
        elif item.make_default is not None:
            names[f"_make_{name}"] = item.make_default
            parameters.append(f"{name}=_missing")
            value = f"_make_{name}() if {name} is _missing else {name}"
        else:
            parameters.append(name)
        if not frozen:
            body.append(f" self.{name} = {value}")
        elif slots:
            names[f"_set_{name}"] = getattr(cls, name).__set__
            body.append(f" _set_{name}(self, {value})")
        else:
            body.append(f" _set(self, {name!r}, {value})")
    text = f"def __init__(self, {', '.join(parameters)}):\n" + ("\n".join(body) or " pass")
    exec(text, names)  # noqa: S102  # field names are identifiers of a class body
    initializer = names["__init__"]
    initializer.__qualname__ = f"{cls.__qualname__}.__init__"
    return initializer


def _add_comparison(cls: Any, fields: tuple[Field, ...], *, is_hashable: bool, has_own_hash: bool) -> None:
    """Compare by the fields, within one class; hash by them where they cannot change."""
    names = [item.name for item in fields if item.compare]
    key: Callable[[Any], Any] = attrgetter(*names) if names else lambda _: ()

    def equal(self: Any, other: object) -> bool:
        return bool(key(self) == key(other)) if other.__class__ is self.__class__ else NotImplemented

    cls.__eq__ = equal
    if not has_own_hash:
        cls.__hash__ = (lambda self: hash(key(self))) if is_hashable else None


def _repr(self: Any) -> str:
    shown = ", ".join(f"{item.name}={getattr(self, item.name)!r}" for item in self.__record_fields__ if item.repr)
    return f"{self.__class__.__qualname__}({shown})"


def _refuse_to_set(_self: Any, name: str, _value: object) -> None:
    from dataclasses import FrozenInstanceError  # only for a fault

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: Any, name: str) -> None:
    from dataclasses import FrozenInstanceError  # only for a fault

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _add_pickling(cls: Any, fields: tuple[Field, ...]) -> None:
    """Pickle the fields as a list, and set them past the class's refusal to be set."""
    names = [item.name for item in fields]
    setters = [getattr(cls, name).__set__ for name in names]

    def get_state(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def set_state(self: Any, state: list[Any]) -> None:
        for setter, value in zip(setters, state, strict=True):
            setter(self, value)

    cls.__getstate__, cls.__setstate__ = get_state, set_state


def _replace(record: Any, /, **changes: Any) -> Any:
    """Return a record with other values for some fields, as `dataclasses.replace` does."""
    for item in record.__record_fields__:
        if item.init and item.name not in changes:
            changes[item.name] = getattr(record, item.name)
    return record.__class__(**changes)


def field_names(record: type) -> tuple[str, ...]:
    """Return the names of a record's fields, in order."""
    fields: tuple[Field, ...] = record.__record_fields__  # type: ignore[attr-defined]  # every record has them
    return tuple(item.name for item in fields)


if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:
    from kaitoc.compiler.core.record_fields import field

    dataclass, replace = _lean_dataclass, _replace
