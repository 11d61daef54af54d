"""Data classes that are quick to define: start-up time is a feature, and a `check` defines nearly a hundred.

Up to Python 3.12 the standard library compiles every generated method by itself, about half a millisecond a class.
Here only `__init__` is compiled, when the first instance is made, and the other methods are shared. Fields are still
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


def _lean_dataclass(*, frozen: bool = False, slots: bool = False, eq: bool = True) -> Callable[[type], type]:
    """Return a decorator with the meaning of `dataclasses.dataclass` for these options."""

    def make(cls: type) -> type:
        own = cls.__dict__
        _refuse_methods(cls, frozen=frozen, slots=slots)
        has_own_repr, has_own_hash, has_own_eq = "__repr__" in own, "__hash__" in own, "__eq__" in own
        made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
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
    """Give a class an `__init__` that compiles the real one and puts it in its own place."""

    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        cls.__init__ = _initializer(cls, fields, frozen=frozen, slots=slots)
        cls.__init__(self, *args, **kwargs)

    cls.__init__ = initialize


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
