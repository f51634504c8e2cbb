"""What a translation could not carry as it was: gathered while translating, sent as `x-relay-warnings`.

A note is `<what happened>:<field>`, e.g. `dropped:seed`. Notes never hold a value of the caller's, only names of
fields and betas, and their number and length are bounded. Strict notes refuse what would be dropped.
"""

import re

from relay_contract.errors import BadField

HEADER = "x-relay-warnings"
MAX_NOTES = 24
MAX_NOTE_LENGTH = 64

_UNSOUND = re.compile(r"[^a-z0-9_.:-]")
_NOT_CARRIED = "the host of this model has no counterpart for it, and this key's policy wants nothing left out."


class Notes:
    """Each note once, in the order in which they came up."""

    __slots__ = ("_is_strict", "_notes")

    def __init__(self, *, is_strict: bool = False) -> None:
        self._is_strict = is_strict
        self._notes: dict[str, None] = {}

    def add(self, what: str, field: str) -> None:
        """`what` is one of clamped, moved, merged, rewritten, added, approximated, hashed, fenced, unmet."""
        if len(self._notes) < MAX_NOTES:
            self._notes[_UNSOUND.sub("_", f"{what}:{field}".lower())[:MAX_NOTE_LENGTH]] = None
        else:
            self._notes["more"] = None

    def dropped(self, field: str, place: str = "") -> None:
        """The field has no counterpart, and the answer may differ for it. `place`: where exactly it stands. Raises
        BadField where notes are strict."""
        self._left_out("dropped", field, place)

    def unknown(self, field: str, place: str) -> None:
        """Nobody here knows the field, so it is left out. Raises BadField where notes are strict."""
        self._left_out("unknown", field, place)

    def _left_out(self, what: str, field: str, place: str) -> None:
        if self._is_strict:
            raise BadField(place or field, _NOT_CARRIED)
        self.add(what, field)

    def has(self, what: str, field: str) -> bool:
        """Whether this was noted."""
        return f"{what}:{field}" in self._notes

    def copy(self, *, is_strict: bool) -> "Notes":
        """The same notes, to be added to apart."""
        copied = Notes(is_strict=is_strict)
        copied._notes = dict(self._notes)
        return copied

    def all(self) -> tuple[str, ...]:
        """Every note."""
        return tuple(self._notes)

    def header_line(self) -> bytes:
        """The header line, b"" when there is nothing to say."""
        return f"{HEADER}: {', '.join(self._notes)}\r\n".encode("ascii") if self._notes else b""
