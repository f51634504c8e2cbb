"""A line of the home: how one thing stands, and the page that clears it.  (pure)"""

from collections.abc import Iterable
from dataclasses import dataclass

from relay_admin.doctor.finding import Finding, State

_WORST_FIRST = (State.BROKEN, State.WARNING, State.OK)
_TONES = {State.OK: "success", State.WARNING: "warning", State.BROKEN: "danger"}
_WORDS = {State.OK: "Well", State.WARNING: "Look", State.BROKEN: "Wrong"}


@dataclass(frozen=True, slots=True)
class Note:
    """`text` leads to `url`, "" where nothing does; `more` stands behind it: why, or what to do."""

    state: State
    text: str
    url: str = ""
    more: str = ""

    @property
    def tone(self) -> str:
        """Of its dot, which has a shape of its own in each."""
        return _TONES[self.state]

    @property
    def word(self) -> str:
        """What the dot says to who does not see it."""
        return _WORDS[self.state]


def well(text: str, url: str = "") -> Note:
    """As it should be."""
    return Note(State.OK, text, url)


def worst_first(notes: Iterable[Note]) -> list[Note]:
    """In their order otherwise."""
    return sorted(notes, key=lambda note: _WORST_FIRST.index(note.state))


def waiting(notes: Iterable[Note]) -> int:
    """How many of them need somebody."""
    return sum(note.state is not State.OK for note in notes)


def note_of(subject: str, finding: Finding, url: str = "") -> Note:
    """What a check of `manage.py doctor` says, of a subject: its lines stand beside the check's name."""
    return Note(finding.state, f"{subject}: {finding.found}", url, finding.action)


def counted(count: int, most: int) -> str:
    """A count that ended at `most`: `1,000 or more`."""
    return f"{count:,} or more" if count >= most else f"{count:,}"
