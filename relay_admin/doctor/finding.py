"""What a check says.  (pure)"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # it works, and somebody should know
    BROKEN = "broken"  # something that the product promises does not hold


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's line. `action`: what clears it; "" where nothing has to be done."""

    check: str
    state: State
    found: str
    action: str = ""


def ok(check: str, found: str) -> Finding:
    """As it should be."""
    return Finding(check, State.OK, found)


def warning(check: str, found: str, action: str) -> Finding:
    """It works, and somebody should know."""
    return Finding(check, State.WARNING, found, action)


def broken(check: str, found: str, action: str) -> Finding:
    """Something that the product promises does not hold."""
    return Finding(check, State.BROKEN, found, action)


def some_of(names: list[str], most: int = 3) -> str:
    """The first few of them, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
