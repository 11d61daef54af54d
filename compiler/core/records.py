"""Data classes that are quick to define: start-up time is a feature, and a `check` defines nearly a hundred.

Up to Python 3.12 the standard library compiles every generated method by itself, about half a millisecond a class.
Here only `__init__` is compiled, once a class has many instances, and the other methods are shared. Fields are still
the standard library's, so `dataclasses.fields`, `replace` and `asdict` work, and type checkers see the standard
decorator. What the standard one does and this one does not is refused where the class is defined.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field"]

_NUM_BEFORE_COMPILING = 24
"""Instances whose fields are set in a loop; compiling `__init__` takes as long as that many of them."""


def _lean_dataclass(*, frozen: bool = False, slots: bool = False, eq: bool = True) -> Callable[[type], type]:
    """Return a decorator with the meaning of `dataclasses.dataclass` for these options."""

    def make(cls: type) -> type:
        own = cls.__dict__
        _refuse_methods(cls, frozen=frozen, slots=slots)
        has_own_repr, has_own_hash, has_own_eq = "__repr__" in own, "__hash__" in own, "__eq__" in own
        made: Any = _with_fields(cls, slots=slots)
        _refuse_fields(made)
        fields = dataclasses.fields(made)
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


@dataclasses.dataclass(init=False, repr=False, eq=False)
class _Example:
    """What the standard library makes of a class, for what it has no public way to make."""

    field: int


_PARAMETERS: Any = _Example.__dataclass_params__  # type: ignore[attr-defined]  # not in its stub
_IS_FIELD: Any = dataclasses.fields(_Example)[0]._field_type  # type: ignore[attr-defined]  # not in its stub
_NOT_FIELDS = ("ClassVar", "InitVar", "KW_ONLY")


def _with_fields(cls: Any, *, slots: bool) -> Any:
    """Return a class with the fields that it annotates, as `dataclasses.dataclass` does, which takes thrice as long.

    What is out of the ordinary is left to the standard library.
    """
    own, annotations = cls.__dict__, cls.__annotations__
    fields = {name: _field_of(name, text, own.get(name, dataclasses.MISSING)) for name, text in annotations.items()}
    is_plain = slots and cls.__doc__ and cls.__bases__ == (object,) and "__slots__" not in own
    if not is_plain or None in fields.values():
        return dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    content = {
        **{name: value for name, value in own.items() if name not in fields},
        "__slots__": tuple(fields),
        "__match_args__": tuple(name for name, item in fields.items() if item is not None and item.init),
        "__dataclass_fields__": fields,
        "__dataclass_params__": _PARAMETERS,
    }
    for name in ("__dict__", "__weakref__"):
        content.pop(name, None)
    made = type(cls)(cls.__name__, cls.__bases__, content)
    made.__qualname__ = cls.__qualname__
    return made


def _field_of(name: str, annotation: object, default: Any) -> dataclasses.Field[Any] | None:
    """Return a plain field, None for what is another thing or wrong."""
    if not isinstance(annotation, str) or any(word in annotation for word in _NOT_FIELDS):
        return None
    item: Any = default if isinstance(default, dataclasses.Field) else field(default=default)
    if item.kw_only is True or item.default.__class__.__hash__ is None:  # mutable, and shared by all instances
        return None
    item.name, item.type, item._field_type, item.kw_only = name, annotation, _IS_FIELD, False
    return item  # type: ignore[no-any-return]  # it has attributes that its stub lacks


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
        if dataclasses.is_dataclass(base):
            raise _unsupported(cls, f"another data class, `{base.__qualname__}`, as its base")


def _refuse_fields(made: Any) -> None:
    """Raise `TypeError` for a field that the generated methods would treat in another way than it says."""
    default_name = ""
    for item in made.__dataclass_fields__.values():
        if item._field_type.name == "_FIELD_INITVAR":  # what tells it from a ClassVar
            raise _unsupported(made, f"an InitVar, `{item.name}`")
    for item in dataclasses.fields(made):
        if item.kw_only:
            raise _unsupported(made, f"a keyword-only field, `{item.name}`")
        if item.hash is not None:
            raise _unsupported(made, f"`hash` for one field, `{item.name}`")
        has_default = item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
        if not item.init:
            if not has_default:
                raise _unsupported(made, f"a field without value, `{item.name}`")
        elif has_default:
            default_name = item.name
        elif default_name:
            raise TypeError(
                f"{made.__qualname__}: `{item.name}` has no default but follows `{default_name}`, which has one"
            )


def _unsupported(cls: type, what: str) -> TypeError:
    return TypeError(f"{cls.__qualname__}: a record cannot have {what}; use dataclasses.dataclass")


def _initialize_later(cls: Any, fields: tuple[dataclasses.Field[Any], ...], *, frozen: bool, slots: bool) -> None:
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

    def __init__(self, item: dataclasses.Field[Any], set_value: Callable[[Any, Any], None] | None) -> None:
        self.name = item.name
        self.is_argument = item.init
        self.default = item.default
        self.make = item.default_factory if item.default_factory is not dataclasses.MISSING else None
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
            if value is dataclasses.MISSING:
                return False
        if place.set_value is not None:
            place.set_value(self, value)
        else:
            object.__setattr__(self, place.name, value)
    return num_by_name == len(kwargs) and next(by_place, _NOTHING) is _NOTHING


def _initializer(cls: type, fields: tuple[dataclasses.Field[Any], ...], *, frozen: bool, slots: bool) -> Any:
    """Return an `__init__` that sets the fields; those of a frozen class past its refusal to be set."""
    names: dict[str, Any] = {"_missing": dataclasses.MISSING, "_set": object.__setattr__}
    parameters, body = [], []
    for item in fields:
        name = value = item.name
        if not item.init:
            names[f"_default_{name}"] = item.default
            names[f"_make_{name}"] = item.default_factory
            value = f"_make_{name}()" if item.default is dataclasses.MISSING else f"_default_{name}"
        elif item.default is not dataclasses.MISSING:
            names[f"_default_{name}"] = item.default
            parameters.append(f"{name}=_default_{name}")
        elif item.default_factory is not dataclasses.MISSING:
            names[f"_make_{name}"] = item.default_factory
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


def _add_comparison(
    cls: Any, fields: tuple[dataclasses.Field[Any], ...], *, is_hashable: bool, has_own_hash: bool
) -> None:
    """Compare by the fields, within one class; hash by them where they cannot change."""
    names = [item.name for item in fields if item.compare]
    key: Callable[[Any], Any] = attrgetter(*names) if names else lambda _: ()

    def equal(self: Any, other: object) -> bool:
        return bool(key(self) == key(other)) if other.__class__ is self.__class__ else NotImplemented

    cls.__eq__ = equal
    if not has_own_hash:
        cls.__hash__ = (lambda self: hash(key(self))) if is_hashable else None


def _repr(self: Any) -> str:
    shown = ", ".join(f"{item.name}={getattr(self, item.name)!r}" for item in dataclasses.fields(self) if item.repr)
    return f"{self.__class__.__qualname__}({shown})"


def _refuse_to_set(_self: Any, name: str, _value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _add_pickling(cls: Any, fields: tuple[dataclasses.Field[Any], ...]) -> None:
    """Pickle the fields as a list, and set them past the class's refusal to be set."""
    names = [item.name for item in fields]
    setters = [getattr(cls, name).__set__ for name in names]

    def get_state(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def set_state(self: Any, state: list[Any]) -> None:
        for setter, value in zip(setters, state, strict=True):
            setter(self, value)

    cls.__getstate__, cls.__setstate__ = get_state, set_state


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _lean_dataclass
