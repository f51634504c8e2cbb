"""What a comparison finds, and the moment that it speaks of. Read alone: nothing is written or locked here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction

MAX_SHOWN = 100
"""Drifts of each kind."""
MAX_ROWS = 20
"""Of each drift."""


@dataclass(frozen=True, slots=True)
class Row:
    """One of those that a drift is made of. Micro-credits, or calls where the drift is about calls."""

    what: str
    expected: int | None
    found: int | None
    at: datetime | None

    def __str__(self) -> str:
        moment = "" if self.at is None else f", {self.at:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.what}{_amounts(self.expected, self.found)}{moment}"

    def as_json(self) -> dict[str, Any]:
        """As it is kept with the run."""
        return {
            "what": self.what,
            "expected": self.expected,
            "found": self.found,
            "at": None if self.at is None else self.at.isoformat(),
        }

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "Row":
        """Of what `as_json` made."""
        at = kept["at"]
        return cls(kept["what"], kept["expected"], kept["found"], None if at is None else datetime.fromisoformat(at))


@dataclass(frozen=True, slots=True)
class Drift:
    """Something that does not add up: the sum of its details, and what is said of them instead. Micro-credits."""

    code: str
    subject: str
    expected: int | None
    found: int | None  # None where it is not about an amount
    about: Mapping[str, Any] = field(default_factory=dict)  # where its rows are looked for: `drift_rows.ABOUT`
    rows: tuple[Row, ...] = ()  # the first of them
    row_count: int = 0  # of all of them

    def __str__(self) -> str:
        return f"{self.subject}: {self.code}{_amounts(self.expected, self.found)}"

    @property
    def is_credits(self) -> bool:
        """Else its figures count something."""
        return not self.subject.endswith((", calls", ", version"))

    def lines(self) -> list[str]:
        """It and its rows, as people read them at a terminal."""
        more = self.row_count - len(self.rows)
        return [str(self), *(f"    {row}" for row in self.rows), *([f"    and {more} more"] if more else [])]


def _amounts(expected: int | None, found: int | None) -> str:
    if found is None:
        return "" if expected is None else f", {expected} and nothing found"
    return f", {found}" if expected is None else f", {found} instead of {expected}"


@contextmanager
def one_moment() -> Iterator[None]:
    """All that is read inside is of one snapshot, and nothing can be written. A transaction that is under way keeps
    what it is: whoever wants one moment asks outside of any."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
