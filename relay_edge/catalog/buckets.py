"""An immutable map in small buckets: a change copies one bucket of it and shares the rest.

A dict of 100,000 relay keys takes 3 ms to copy, and the event loop would stand still for each changed row. Here a
change copies a tuple of 1,024 pointers and one dict of about 100 entries (10 us); a look-up costs one index more.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

BUCKETS = 1024
_MASK = BUCKETS - 1
_EMPTY: dict[Any, Any] = {}
"""The bucket of all that hold nothing: nobody writes to it."""


class Buckets(Generic[Key, Value]):
    """A read-only map; keys are hashable, values are never None."""

    __slots__ = ("_buckets",)

    def __init__(self, buckets: tuple[dict[Key, Value], ...] | None = None) -> None:
        self._buckets: tuple[dict[Key, Value], ...] = buckets or (_EMPTY,) * BUCKETS

    def get(self, key: Key) -> Value | None:
        """The value, or None."""
        return self._buckets[hash(key) & _MASK].get(key)

    def changed(self, changes: Mapping[Key, Value | None]) -> "Buckets[Key, Value]":
        """A map with these entries; None takes one out. `self` stays as it is."""
        buckets = list(self._buckets)
        copied: set[int] = set()
        for key, value in changes.items():
            number = hash(key) & _MASK
            if number not in copied:
                copied.add(number)
                buckets[number] = buckets[number].copy()
            if value is None:
                buckets[number].pop(key, None)
            else:
                buckets[number][key] = value
        return Buckets(tuple(buckets))

    def values(self) -> Iterator[Value]:
        """Every value, in no order that means anything."""
        for bucket in self._buckets:
            yield from bucket.values()

    def filled(self) -> list[dict[Key, Value]]:
        """The buckets that hold something; not to be written to."""
        return [bucket for bucket in self._buckets if bucket]

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Buckets) and self._buckets == other._buckets

    __hash__ = None  # type: ignore[assignment]  # compared by content


class BucketsBuilder(Generic[Key, Value]):
    """Fills a map entry by entry, so that a load of any size can stop between two of them."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: list[dict[Key, Value]] = [_EMPTY] * BUCKETS

    def get(self, key: Key) -> Value | None:
        """What was set for the key so far, or None."""
        return self._buckets[hash(key) & _MASK].get(key)

    def set(self, key: Key, value: Value) -> None:
        """Sets or replaces."""
        number = hash(key) & _MASK
        bucket = self._buckets[number]
        if bucket is _EMPTY:
            bucket = self._buckets[number] = {}
        bucket[key] = value

    def finish(self) -> Buckets[Key, Value]:
        """The map. The builder must not be used after it."""
        return Buckets(tuple(self._buckets))
