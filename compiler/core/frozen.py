"""Mappings that cannot change: values that records hold and caches hash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaitoc.compiler.core.annotations import Any


class FrozenMapping(Mapping[str, object]):
    """Plain data by name, as JSON gives it, with a hash of its content.

    Equal to another where keys, values and their types are, in whatever order: `1`, `1.0` and `true` differ. The data
    is a copy, and lists and mappings inside it are handed out as copies, so nothing that holds the mapping, or held
    what it was made of, can change it. Raises `RecursionError` for data that is nested by the hundred.
    """

    __slots__ = ("_content", "_values")

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        self._values: dict[str, object] = {} if values is None else {key: _copy(values[key]) for key in values}
        self._content = _content(self._values)

    def __getitem__(self, key: str) -> object:
        return _copy(self._values[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(self._content)

    def __eq__(self, other: object) -> bool:
        return self._content == other._content if isinstance(other, FrozenMapping) else NotImplemented

    def __reduce__(self) -> tuple[type[FrozenMapping], tuple[dict[str, object]]]:
        return FrozenMapping, (self._values,)

    def __repr__(self) -> str:
        return f"FrozenMapping({self._values!r})"


def _copy(value: Any) -> Any:
    """Return lists and mappings as new ones of plain types; everything else cannot change."""
    if isinstance(value, Mapping):
        return {key: _copy(value[key]) for key in value}
    return [_copy(item) for item in value] if isinstance(value, (list, tuple)) else value


def _content(value: object) -> str:
    """Return data as a text that is the same for equal data, and for no other."""
    if isinstance(value, dict):
        return f"{{{','.join(sorted([f'{key!r}:{_content(item)}' for key, item in value.items()]))}}}"
    return f"[{','.join([_content(item) for item in value])}]" if isinstance(value, list) else repr(value)
