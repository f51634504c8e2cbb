"""When what Redis believes of money is replaced by what Postgres has. Pure.

Purses count what they hold and what was spent by generation. A generation is closed for a purse once the relay is past
it, nothing of it is held but by processes that ended, and nothing about it has changed for long enough that every row
of it is posted. Generations of a purse are closed in their order.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

_FIELD = re.compile(rb"(?:spent|h:([0-9a-f]+)):(\d+)", re.ASCII)
_MARKER = re.compile(rb"(\d{1,9}):(\d{1,9}):([0-9a-f]{1,64})(:opening)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds."""

    close: float = 120  # that nothing of a generation changed; settlement and posting take less
    look: float = 60  # between two looks at all purses
    open: float = 300  # that a generation lasts
    flush_wait: float = 2  # for edges to say that they live, when everything is gone
    patience: float = 15  # with edges that do not say that they declared what they hold, and with calls not posted
    most_unwritten: float = 60  # an edge that keeps rows to itself for longer keeps generations open


MOST_OPEN = 8
"""Generations, with the one that is being given."""


class Marker(NamedTuple):
    """Of the money: `seed` is the generation in which everything was made anew, on the Redis with this `run_id`.
    `is_opening`: edges are to declare what they hold, and no purse pays yet."""

    generation: int
    seed: int
    run_id: str
    is_opening: bool = False

    @classmethod
    def read(cls, text: bytes | None) -> Self | None:
        """None for none, and for what is no marker."""
        found = _MARKER.fullmatch(text or b"")
        return found and cls(int(found[1]), int(found[2]), found[3].decode(), found[4] is not None)

    def __str__(self) -> str:
        return f"{self.generation}:{self.seed}:{self.run_id}{':opening' if self.is_opening else ''}"


class Beat(NamedTuple):
    """An edge process' word: for how many seconds it has kept rows to itself, and the seed under which it has declared
    what it holds, with every row of before written."""

    unwritten: float
    seed: int

    @classmethod
    def read(cls, text: bytes) -> Self:
        """One that says nothing of a seed has declared nothing."""
        unwritten, _, seed = text.partition(b":")
        return cls(float(unwritten), int(seed or 0))


@dataclass(slots=True)
class Part:
    """A purse's part of one generation, in micro-credits."""

    spent: int = 0
    taken: int = 0  # as Postgres has it
    held: dict[str, int] = field(default_factory=dict)  # by process; without those that hold nothing


Parts = dict[int, Part]
"""By generation."""


def parts_of(fields: Mapping[bytes, bytes]) -> Parts:
    """Of a purse's hash, as Redis has it."""
    parts: Parts = {}
    for name, value in fields.items():
        if found := _FIELD.fullmatch(name):
            part = parts.setdefault(int(found[2]), Part())
            if found[1] is None:
                part.spent = int(value)
            elif int(value):
                part.held[found[1].decode()] = int(value)
    return parts


class Watch:
    """What purses looked like, and since when. Only what it saw itself counts: a new one waits anew."""

    def __init__(self, close_seconds: float) -> None:
        self._close_seconds = close_seconds
        self._seen: dict[tuple[str, int], tuple[Part, float]] = {}
        self._missing: dict[str, float] = {}

    def look(self, now: float, generation: int, purses: Mapping[str, Parts], living: Collection[str]) -> dict[str, int]:
        """At all purses there are, by key, while `generation` is given: the last that may be closed, where one may."""
        holders = {process for parts in purses.values() for part in parts.values() for process in part.held}
        self._missing = {process: self._missing.get(process, now) for process in holders - set(living)}
        seen, closable = {}, {}
        for key, parts in purses.items():
            is_first = True
            for number in sorted(parts):
                since = self._since(now, (key, number), parts[number])
                seen[key, number] = parts[number], since
                is_first = is_first and number < generation and self._is_over(now, parts[number], since)
                if is_first:
                    closable[key] = number
        self._seen = seen
        return closable

    def _since(self, now: float, place: tuple[str, int], part: Part) -> float:
        before = self._seen.get(place)
        return before[1] if before is not None and before[0] == part else now

    def _is_over(self, now: float, part: Part, since: float) -> bool:
        ended = now - self._close_seconds
        return since <= ended and all(self._missing.get(process, now) <= ended for process in part.held)
