"""What is made once and remembered, without holding more than it should.

Inputs are hostile until proven otherwise, and a webhook lives for weeks: what is derived from an object lives as long
as the object, and what is kept beyond has a bound on its size, not only on its number.

A key is a value: a frozen record, a tuple of such, or plain data in a `PlainKey`. It is equal to another where all that
the answer depends on is, never by a name or an address.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock  # the lock of `threading` without all else that it brings to a start
from collections import OrderedDict
from collections.abc import Callable, Hashable

from kaitoc.compiler.core.annotations import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")


class Memo:
    """Values that follow from the object that holds this memo."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key, made when it is first asked for."""
        try:
            value: T = self._values[key]
        except KeyError:
            pass
        else:
            return value
        value = self._values[key] = make()
        return value


class PlainKey(Generic[T]):
    """Plain data, as YAML or JSON give it, as a key: the same where values, their types and their order are."""

    __slots__ = ("_text", "num_characters", "value")

    def __init__(self, value: T) -> None:
        self.value = value
        try:
            self._text: str | None = repr(value)
            self.num_characters = len(self._text)
        except ValueError:  # an integer with more digits than Python prints: equal to nothing but itself
            self._text, self.num_characters = None, sys.maxsize

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlainKey):
            return NotImplemented
        return self is other or (self._text is not None and self._text == other._text)


class SizedCache(Generic[K, V]):
    """The values that were used last; all but the newest add up to no more than a bound. Threads may share it."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._size = 0
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = allocate_lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """Return the value of a key, None where there is none."""
        value = self._values.get(key)
        if value is None:
            return None
        try:  # noqa: SIM105  (asked too often for a context manager)
            self._values.move_to_end(key)
        except KeyError:
            pass  # another thread has given it up meanwhile
        return value[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Hold a value, and give up those that were not used for longest where it leaves no room for them."""
        with self._lock:
            _, before = self._values.pop(key, (None, 0))
            self._values[key] = (value, size)
            self._size += size - before
            while self._size > self._max_size and len(self._values) > 1:
                _, (_, freed) = self._values.popitem(last=False)
                self._size -= freed
