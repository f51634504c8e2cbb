"""The beginning of a JSON value as text, for people: as long as asked and no more work than that. Pure."""

import json
from collections.abc import Iterator

_CUT = "…"


def excerpt(value: object, max_length: int = 200) -> str:
    """The value as JSON, cut to `max_length` characters, the last of which is then an ellipsis.

    Never raises: what is no JSON is shown as its type. Takes no longer for a value that is deep or large.
    """
    text = ""
    for part in _parts(value, max_length):
        text += part
        if len(text) > max_length:
            return text[: max_length - 1] + _CUT
    return text


def _parts(value: object, max_length: int) -> Iterator[str]:
    """The pieces of the JSON text, in order. A stack instead of recursion: bodies nest as deep as they like."""
    pending: list[Iterator[tuple[str, object]]] = [iter((("", value),))]
    closings = [""]
    while pending:
        entry = next(pending[-1], None)
        if entry is None:
            pending.pop()
            yield closings.pop()
            continue
        before, current = entry
        yield before
        if isinstance(current, dict):
            yield "{"
            pending.append(_members(current, max_length))
            closings.append("}")
        elif isinstance(current, list):
            yield "["
            pending.append(_items(current))
            closings.append("]")
        else:
            yield _scalar(current, max_length)


def _members(value: dict[str, object], max_length: int) -> Iterator[tuple[str, object]]:
    separator = ""
    for name, member in value.items():
        yield f"{separator}{_scalar(name, max_length)}: ", member
        separator = ", "


def _items(value: list[object]) -> Iterator[tuple[str, object]]:
    separator = ""
    for item in value:
        yield separator, item
        separator = ", "


def _scalar(value: object, max_length: int) -> str:
    match value:
        case str():
            return json.dumps(value[: max_length + 1], ensure_ascii=False)
        case None | bool() | int() | float():
            return json.dumps(value)
        case _:
            return f"<{type(value).__name__}>"
