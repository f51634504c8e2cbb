"""What values are compared with: one predicate for each operator of the conditions. Pure.

Each is read once (a fault where the document compares with nonsense) and then asked of values that anybody may have
sent: of any type, of any length. Types are never coerced. What a predicate looks through it pays for (`run.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from operator import ge, gt, le, lt
from typing import Any, Final, TypeAlias

from relay_contract.shaping.checking import Check
from relay_contract.shaping.facts import MISSING
from relay_contract.shaping.run import Run

MAX_CHOICES = 256
"""Of `in`, and of patterns for one event type."""

Predicate: TypeAlias = Callable[[Run, Any], bool]
"""Says whether a value, or MISSING, is as wanted. Never raises."""
Read: TypeAlias = Callable[[Check, str, Any], Predicate]
"""Makes a predicate of what stands at a place of the document."""

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


def _never(_run: Run, _value: object) -> bool:
    return False


def _exists(check: Check, place: str, wanted: Any) -> Predicate:
    if not isinstance(wanted, bool):
        check.fault(place, "is true or false")
    return lambda _, value: (value is not MISSING) is wanted


def _is(check: Check, place: str, wanted: Any) -> Predicate:
    if type(wanted) not in _SCALARS:
        check.fault(place, "is a text, a number, true, false or null")
        return _never
    return _among([wanted])


def _in(check: Check, place: str, wanted: Any) -> Predicate:
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= MAX_CHOICES:
        check.fault(place, f"lists 1 to {MAX_CHOICES} values")
    elif not all(type(choice) in _SCALARS for choice in wanted):
        check.fault(place, "lists texts, numbers, true, false or null")
    else:
        return _among(wanted)
    return _never


def _among(choices: list[Any]) -> Predicate:
    """Equal to one of them, as JSON has it. A set each for booleans and for the rest, since True == 1 in Python."""
    booleans = frozenset(choice for choice in choices if type(choice) is bool)
    others = frozenset(choice for choice in choices if type(choice) is not bool)

    def passes(run: Run, value: Any) -> bool:
        run.steps_left -= 1
        kind = type(value)
        return value in booleans if kind is bool else kind in _SCALARS and value in others

    return passes


def _numeric(compare: Callable[[Any, Any], bool]) -> Read:
    def read(check: Check, place: str, wanted: Any) -> Predicate:
        if type(wanted) is not int and type(wanted) is not float:
            check.fault(place, "is a number")
            return _never

        def passes(run: Run, value: Any) -> bool:
            run.steps_left -= 1
            return (type(value) is int or type(value) is float) and compare(value, wanted)

        return passes

    return read


def _starts_with(check: Check, place: str, wanted: Any) -> Predicate:
    start = check.text(place, wanted, what="a beginning")
    return lambda _, value: type(value) is str and value.startswith(start)


def _ends_with(check: Check, place: str, wanted: Any) -> Predicate:
    end = check.text(place, wanted, what="an end")
    return lambda _, value: type(value) is str and value.endswith(end)


def _contains(check: Check, place: str, wanted: Any) -> Predicate:
    """Of a text: it stands somewhere in it. Of a list: one of its items is this text."""
    part = check.text(place, wanted, what="what is looked for")

    def passes(run: Run, value: Any) -> bool:
        if type(value) is str:
            run.read_text(value)
        elif type(value) is list:
            run.steps_left -= len(value)
        else:
            return False
        return part in value

    return passes


def _like(check: Check, place: str, wanted: Any) -> Predicate:
    return any_like(check, place, [wanted])


def any_like(check: Check, place: str, wanted: Sequence[object]) -> Predicate:
    """The predicate of several patterns, one of which is enough."""
    if not 1 <= len(wanted) <= MAX_CHOICES:
        check.fault(place, f"lists 1 to {MAX_CHOICES} patterns")
        return _never
    patterns = [tuple(check.text(place, pattern, what="a pattern").split("*")) for pattern in wanted]

    def passes(run: Run, value: Any) -> bool:
        if type(value) is not str:
            return False
        for pieces in patterns:
            run.steps_left -= 1
            run.read_text(value)
            if is_like(value, pieces):
                return True
        return False

    return passes


def is_like(text: str, pieces: Sequence[str]) -> bool:
    """True where the text is the pieces in their order with anything between them. Each piece is looked for once, at
    its first place after the one before: that is enough where only `*` is wild, and takes linear time."""
    if len(pieces) == 1:
        return text == pieces[0]
    first, *middle, last = pieces
    end = len(text) - len(last)
    if not text.startswith(first) or not text.endswith(last):
        return False
    place = len(first)
    for piece in middle:
        place = text.find(piece, place, end)
        if place < 0:
            return False
        place += len(piece)
    return place <= end


NUMERIC: Final[Mapping[str, Read]] = {"gt": _numeric(gt), "gte": _numeric(ge), "lt": _numeric(lt), "lte": _numeric(le)}
OPERATORS: Final[Mapping[str, Read]] = {
    "is": _is,
    "in": _in,
    "exists": _exists,
    **NUMERIC,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "contains": _contains,
    "like": _like,
}
"""Every operator, in the order in which several of one condition are compared."""
