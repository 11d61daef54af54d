"""Data classes that are quick to define: start-up time is a feature, and a `check` defines nearly a hundred.

Up to Python 3.12 the standard library compiles every generated method by itself, about half a millisecond a class.
Here only `__init__` is compiled, once a class has many instances, and the other methods are shared. The standard
library's `fields`, `replace` and `asdict` work on records, and type checkers see the standard decorator. What the
standard one does and this one does not is refused where the class is defined.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from kaitoc.compiler.core.annotations import TYPE_CHECKING, Any
from kaitoc.compiler.core.record_fields import MISSING, Field, StandardAttributes, field_of_standard

__all__ = ["dataclass", "field", "field_names", "replace"]

_set = object.__setattr__
_NUM_BEFORE_COMPILING = 24
"""Instances whose fields are set in a loop; compiling `__init__` takes as long as that many of them."""


def _lean_dataclass(*, frozen: bool = False, slots: bool = False, eq: bool = True) -> Callable[[type], type]:
    """Return a decorator with the meaning of `dataclasses.dataclass` for these options."""

    def make(cls: type) -> type:
        _refuse_methods(cls, frozen=frozen, slots=slots)
        made: type = _with_fields(
            cls, slots=slots, methods=lambda fields: _methods(cls, fields, frozen=frozen, slots=slots, eq=eq)
        )
        return made

    return make


def _methods(cls: type, fields: tuple[Field, ...], *, frozen: bool, slots: bool, eq: bool) -> dict[str, Any]:
    """Return the methods of a record, where its class has none of its own."""
    own = cls.__dict__
    methods: dict[str, Any] = {} if "__repr__" in own else {"__repr__": _repr}
    methods["__init__"] = _initialize_later(fields, frozen=frozen, slots=slots)
    if eq and "__eq__" not in own:
        methods.update(_comparison(fields, is_hashable=frozen, has_own_hash="__hash__" in own))
    if frozen:
        methods["__setattr__"], methods["__delattr__"] = _refuse_to_set, _refuse_to_delete
    if frozen and slots:
        methods["__getstate__"], methods["__setstate__"] = _get_state, _set_state
    return methods


def _with_fields(cls: Any, *, slots: bool, methods: Callable[[tuple[Field, ...]], dict[str, Any]]) -> Any:
    """Return a class with the fields that it annotates and the methods that these ask for.

    `dataclasses.dataclass` takes thrice as long; what is out of the ordinary is left to it.
    """
    own, annotations = cls.__dict__, cls.__annotations__
    found = [_field_of(name, text, own.get(name, MISSING)) for name, text in annotations.items()]
    fields = tuple([item for item in found if item is not None])
    if len(fields) < len(found) or not _is_plain(cls, slots=slots):
        made, fields = _with_standard_fields(cls, slots=slots)
        _refuse_fields(made, fields)
        return _with_attributes(made, {**methods(fields), "__record_fields__": fields})
    _refuse_fields(cls, fields)
    content = {
        **methods(fields),
        "__match_args__": tuple([item.name for item in fields if item.init]),
        "__record_fields__": fields,
        "__dataclass_fields__": StandardAttributes("__dataclass_fields__", fields),
        "__dataclass_params__": StandardAttributes("__dataclass_params__", fields),
    }
    if slots:
        return _with_slots(cls, {**own, **content}, tuple(annotations))
    for item in fields:
        if item.default is not MISSING:
            setattr(cls, item.name, item.default)
        elif item.name in own:
            delattr(cls, item.name)
    return _with_attributes(cls, content)


def _with_attributes(cls: Any, attributes: dict[str, Any]) -> Any:
    for name, value in attributes.items():
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


def _with_standard_fields(cls: Any, *, slots: bool) -> tuple[Any, tuple[Field, ...]]:
    import dataclasses  # only for what is out of the ordinary

    for name, value in list(cls.__dict__.items()):
        if isinstance(value, Field):
            setattr(cls, name, value.standard())
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    for item in made.__dataclass_fields__.values():
        if item._field_type.name == "_FIELD_INITVAR":  # what tells it from a ClassVar
            raise _unsupported(made, f"an InitVar, `{item.name}`")
    return made, tuple(field_of_standard(item) for item in dataclasses.fields(made))


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


def _initialize_later(fields: tuple[Field, ...], *, frozen: bool, slots: bool) -> Callable[..., None]:
    """Return an `__init__` that sets the fields one by one, and puts a compiled one in its place when it pays."""
    num_left = _NUM_BEFORE_COMPILING
    compiled: Any = None

    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal num_left, compiled
        num_left -= 1
        if num_left >= 0 and _set_fields(self, fields, args, kwargs):  # wrong arguments are Python's to complain of
            return
        for cls in self.__class__.__mro__:
            if cls.__dict__.get("__init__") is initialize:  # unless another thread has replaced it
                compiled = cls.__init__ = _initializer(cls, fields, frozen=frozen, slots=slots)
        compiled(self, *args, **kwargs)

    return initialize


_NOTHING: Any = object()


def _set_fields(self: Any, fields: tuple[Field, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Set the fields of a new instance; return whether the arguments were right."""
    by_place, num_by_name = iter(args), 0
    for item in fields:
        value = next(by_place, _NOTHING) if item.init else _NOTHING
        if value is not _NOTHING:
            pass
        elif item.init and item.name in kwargs:
            value = kwargs[item.name]
            num_by_name += 1
        else:
            value = item.default if item.make_default is None else item.make_default()
            if value is MISSING:
                return False
        _set(self, item.name, value)
    return num_by_name == len(kwargs) and next(by_place, _NOTHING) is _NOTHING


def _initializer(cls: type, fields: tuple[Field, ...], *, frozen: bool, slots: bool) -> Any:
    """Return an `__init__` that sets the fields; those of a frozen class past its refusal to be set."""
    names: dict[str, Any] = {"_missing": MISSING, "_set": _set}
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


def _comparison(fields: tuple[Field, ...], *, is_hashable: bool, has_own_hash: bool) -> dict[str, Any]:
    """Return the methods that compare by the fields, within one class, and hash by them where they cannot change."""
    names = [item.name for item in fields if item.compare]
    key: Callable[[Any], Any] = attrgetter(*names) if names else lambda _: ()

    def equal(self: Any, other: object) -> bool:
        return bool(key(self) == key(other)) if other.__class__ is self.__class__ else NotImplemented

    if has_own_hash:
        return {"__eq__": equal}
    return {"__eq__": equal, "__hash__": (lambda self: hash(key(self))) if is_hashable else None}


def _repr(self: Any) -> str:
    shown = ", ".join(f"{item.name}={getattr(self, item.name)!r}" for item in self.__record_fields__ if item.repr)
    return f"{self.__class__.__qualname__}({shown})"


def _refuse_to_set(_self: Any, name: str, _value: object) -> None:
    from dataclasses import FrozenInstanceError  # only for a fault

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: Any, name: str) -> None:
    from dataclasses import FrozenInstanceError  # only for a fault

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, item.name) for item in self.__record_fields__]


def _set_state(self: Any, state: list[Any]) -> None:
    """Set the fields past the class's refusal to be set."""
    for item, value in zip(self.__record_fields__, state, strict=True):
        _set(self, item.name, value)


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
