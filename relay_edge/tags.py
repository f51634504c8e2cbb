"""`x-relay-tags`: a caller's own words for a call, kept with its row, e.g. `team=search, job=nightly`. Pure.

A JSON object of strings, or a list of `name=value`. The header never reaches a host.
"""

from typing import Any

import msgspec

from relay_contract.errors import BadHeader
from relay_contract.headers import TAGS

MAX_TAGS = 16
MAX_NAME_LENGTH = 64
MAX_VALUE_LENGTH = 256
MAX_HEADER_LENGTH = MAX_TAGS * (MAX_NAME_LENGTH + MAX_VALUE_LENGTH + 8)


def read_tags(values: list[str]) -> dict[str, str]:
    """Tags out of the header's values. Raises BadHeader, whose text names the rule."""
    if len(values) != 1:
        raise _refused("send it once")
    [text] = values
    if len(text) > MAX_HEADER_LENGTH:
        raise _refused(f"it has {MAX_HEADER_LENGTH} characters at most")
    text = text.strip()
    pairs = _object(text) if text.startswith("{") else _list(text)
    tags = dict(pairs)
    if len(tags) != len(pairs):
        raise _refused("each name stands in it once")
    if len(tags) > MAX_TAGS:
        raise _refused(f"{MAX_TAGS} tags at most")
    for name, value in pairs:
        if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
            raise _refused(f"a name is 1 to {MAX_NAME_LENGTH} printable characters")
        if len(value) > MAX_VALUE_LENGTH or not value.isprintable():
            raise _refused(f"a value is {MAX_VALUE_LENGTH} printable characters at most")
    return tags


def _object(text: str) -> list[tuple[str, str]]:
    try:
        # aiohttp hands bytes that are no UTF-8 over as halves of surrogate pairs.
        document: Any = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise _refused("it is no JSON object") from None
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise _refused("each value of its JSON object is a string")
    return list(document.items())


def _list(text: str) -> list[tuple[str, str]]:
    pairs = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise _refused("write `name=value, name=value` or a JSON object of strings")
        pairs.append((name.strip(), value.strip()))
    return pairs


def _refused(rule: str) -> BadHeader:
    return BadHeader(f"The header {TAGS} cannot be read: {rule}.")
