"""What a translation could not carry as it was: gathered while translating, sent as `x-relay-warnings`.

A note is `<what happened>:<field>`, e.g. `dropped:seed`. Notes never hold a value of the caller's, only names of
fields, and their number and length are bounded.
"""

import re

HEADER = "x-relay-warnings"
MAX_NOTES = 24
MAX_NOTE_LENGTH = 64

_UNSOUND = re.compile(r"[^a-z0-9_.:-]")


class Notes:
    """Each note once, in the order in which they came up."""

    __slots__ = ("_notes",)

    def __init__(self) -> None:
        self._notes: dict[str, None] = {}

    def add(self, what: str, field: str) -> None:
        """`what` is one of dropped, unknown, clamped, moved, merged, rewritten, added, approximated, hashed."""
        if len(self._notes) < MAX_NOTES:
            self._notes[_UNSOUND.sub("_", f"{what}:{field}".lower())[:MAX_NOTE_LENGTH]] = None
        else:
            self._notes["more"] = None

    def dropped(self, field: str) -> None:
        """The field has no counterpart, and the answer may differ for it."""
        self.add("dropped", field)

    def copy(self) -> "Notes":
        """The same notes, to be added to apart."""
        copied = Notes()
        copied._notes = dict(self._notes)
        return copied

    def all(self) -> tuple[str, ...]:
        """Every note."""
        return tuple(self._notes)

    def header_line(self) -> bytes:
        """The header line, b"" when there is nothing to say."""
        return f"{HEADER}: {', '.join(self._notes)}\r\n".encode("ascii") if self._notes else b""
