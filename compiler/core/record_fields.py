"""The fields of records, described without the standard library's data classes.

Importing `dataclasses` takes `inspect`, `ast`, `dis` and `tokenize` along, a twentieth of a check. So a record
describes its fields by itself, and hands them over in the standard library's form to whoever asks in its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kaitoc.compiler.core.annotations import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dataclasses


class _Missing:
    """Stands for a default that there is not."""


MISSING: Any = _Missing()


class Field:
    """One field: its name and annotation, its default or what makes one, and what of it takes part in what."""

    __slots__ = ("annotation", "compare", "default", "hash", "init", "kw_only", "make_default", "name", "repr")

    def __init__(
        self,
        default: Any = MISSING,
        make_default: Callable[[], Any] | None = None,
        *,
        init: bool = True,
        repr: bool = True,  # noqa: A002  # what `dataclasses.field` calls it
        hash: bool | None = None,  # noqa: A002
        compare: bool = True,
        kw_only: bool = False,
    ) -> None:
        self.name = ""
        self.annotation = ""
        self.default = default
        self.make_default = make_default
        self.init = init
        self.repr = repr
        self.hash = hash
        self.compare = compare
        self.kw_only = kw_only

    @property
    def has_default(self) -> bool:
        """Whether a record can be made without a value for this field."""
        return self.default is not MISSING or self.make_default is not None

    def standard(self) -> Any:
        """Return the field as `dataclasses.field` makes it."""
        import dataclasses  # only for what asks in the standard library's way

        none = dataclasses.MISSING
        default: Any = none if self.default is MISSING else self.default
        factory: Any = none if self.make_default is None else self.make_default
        return dataclasses.field(  # type: ignore[call-overload]  # one of the two defaults is missing
            default=default, default_factory=factory, init=self.init, repr=self.repr, hash=self.hash,
            compare=self.compare, **({"kw_only": True} if self.kw_only else {}),
        )  # fmt: skip


def field(*, default: Any = MISSING, default_factory: Callable[[], Any] | None = None, **options: Any) -> Any:
    """Return the description of a field, as `dataclasses.field` does."""
    return Field(default, default_factory, **options)


def field_of_standard(item: dataclasses.Field[Any]) -> Field:
    """Return the description of a field that the standard library made."""
    import dataclasses  # it is imported already: it has made the field

    none = dataclasses.MISSING
    made = Field(
        MISSING if item.default is none else item.default,
        None if item.default_factory is none else item.default_factory,
        init=item.init, repr=item.repr, hash=item.hash, compare=item.compare, kw_only=item.kw_only is True,
    )  # fmt: skip
    made.name, made.annotation = item.name, item.type  # type: ignore[assignment]  # a text, as annotations are here
    return made


class StandardAttributes:
    """`__dataclass_fields__` and `__dataclass_params__` of a record, made when `dataclasses` looks for one of them."""

    def __init__(self, attribute: str, fields: Iterable[Field]) -> None:
        self._attribute = attribute
        self._fields = tuple(fields)
        self._value: Any = None

    def __get__(self, _record: object, _class: type | None = None) -> Any:
        if self._value is None:
            self._value = getattr(_standard_class(self._fields), self._attribute)
        return self._value


def _standard_class(fields: tuple[Field, ...]) -> type:
    """Return the fields as the standard library's dataclasses see them."""
    import dataclasses  # only for what asks in the standard library's way

    content = {item.name: item.standard() for item in fields}
    annotations = {item.name: item.annotation for item in fields}
    made = type("Record", (), {"__annotations__": annotations, "__module__": __name__, **content})
    return dataclasses.dataclass(init=False, repr=False, eq=False)(made)
