"""One evaluation: what it looks at, what it may still spend, and what it writes down for a dry run. Pure.

Every loop and every text that grows with the input is paid for here, so neither a mapping nor a body can make a worker
work, or an answer grow, without bound.
"""

from collections.abc import Callable
from typing import Final

from relay_contract.shaping.facts import MISSING, NOT_JSON, Facts

MAX_RUN_STEPS = 100_000
"""A node, an item of a list and a condition cost one each; text that is searched, one for each 64 characters."""
MAX_OUTPUT_BYTES = 1_048_576
MAX_EACH_ITEMS = 10_000

_TEXT_PER_STEP_SHIFT = 6
_GROWTH = 5
"""JSON that is decoded and encoded again grows at most so much: 1e15 becomes 1000000000000000.0."""


class MappingError(Exception):
    """A mapping that cannot be applied to this request. `place` is the node's path in the mapping, `code` a constant.

    The text quotes nothing of the request.
    """

    def __init__(self, place: str, code: str, text: str) -> None:
        self.place = place
        self.code = code
        self.text = text
        super().__init__(f"{place}: {text}" if place else text)


Record = Callable[[str, object, str], None]
"""Called with a part's path in the document, what it gave, and why where that needs saying."""


class Run:
    """Made for each evaluation: 0.3 us."""

    __slots__ = ("_loose_bytes", "bytes_left", "facts", "record", "steps_left")

    def __init__(self, facts: Facts, record: Record | None = None) -> None:
        self.facts: Final = facts
        self.record: Final = record
        self.steps_left = MAX_RUN_STEPS
        self.bytes_left = MAX_OUTPUT_BYTES
        self._loose_bytes = MAX_OUTPUT_BYTES

    def root(self) -> object:
        """The decoded body; MISSING where it is not JSON."""
        document = self.facts.document()
        return MISSING if document is NOT_JSON else document

    def read_text(self, text: str) -> None:
        """A text is searched from end to end."""
        self.steps_left -= len(text) >> _TEXT_PER_STEP_SHIFT

    def spend(self, place: str, steps: int) -> None:
        """MappingError when the mapping has worked enough."""
        self.steps_left -= steps
        if self.steps_left < 0:
            raise MappingError(place, "too_many_steps", f"the mapping takes more than {MAX_RUN_STEPS:,} steps")

    def put_out(self, place: str, size: int) -> None:
        """So many characters go into the result. MappingError when it grows too large."""
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise too_large(place)

    def put_out_value(self, place: str, value: object) -> None:
        """A value of the request goes into the result.

        A container is not weighed while a bound is enough: no part of a body is larger than the body. Small events, put
        in few times, are never walked.
        """
        if type(value) is str:
            self.put_out(place, len(value) + 2)
        elif type(value) is dict or type(value) is list:
            self._loose_bytes -= _GROWTH * len(self.facts.body)
            if self._loose_bytes < 0:
                self._weigh(place, value)
        else:
            self.put_out(place, 1)

    def _weigh(self, place: str, value: object) -> None:
        """Pays for a container part by part, each at least one, so that the walk is as short as what is left."""
        pending = [value]
        while pending:
            part = pending.pop()
            if type(part) is dict:
                self.put_out(place, 2 + sum(map(len, part)) + 4 * len(part))
                pending.extend(part.values())
            elif type(part) is list:
                self.put_out(place, 2 + len(part))
                pending.extend(part)
            elif type(part) is str:
                self.put_out(place, len(part) + 2)


def too_large(place: str) -> MappingError:
    """What it costs to grow past the limit."""
    return MappingError(place, "too_large", f"the result is larger than {MAX_OUTPUT_BYTES:,} bytes")
