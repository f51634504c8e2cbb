"""Text in mappings: templates, joining, splitting, and the conversions that are asked for by name. Pure."""

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from relay_contract.shaping.checking import MAX_TEXT_LENGTH, Check
from relay_contract.shaping.facts import MISSING
from relay_contract.shaping.paths import PathError, Read, parse_reference
from relay_contract.shaping.run import MAX_EACH_ITEMS, MappingError, Run

MAX_TEMPLATE_LENGTH = 8 * MAX_TEXT_LENGTH
_MAX_NUMBER_LENGTH = 64

Template: TypeAlias = tuple[tuple[str, Read | None, str], ...]
"""Pieces: a text, and what follows it: the reader of a placeholder and its name, or None at the end."""


def read_template(check: Check, place: str, template: object) -> Template:
    """`Order {order.id} of {header:x-shop}`, taken apart; `{{` and `}}` stand for the braces themselves."""
    if not isinstance(template, str) or len(template) > MAX_TEMPLATE_LENGTH:
        check.fault(place, f"is a text of at most {MAX_TEMPLATE_LENGTH:,} characters")
        return ()
    pieces: list[tuple[str, Read | None, str]] = []
    literal, rest = "", template
    while rest:
        before, brace, after = _cut_at_brace(rest)
        literal += before
        if after.startswith(brace) and brace:
            literal, rest = literal + brace, after[1:]
            continue
        if not brace:
            break
        name, closing, rest = after.partition("}")
        if brace == "}" or not closing:
            check.fault(place, "has a brace without its partner; a brace itself is written {{ or }}")
            return ()
        try:
            reference = parse_reference(name)
        except PathError as error:
            check.fault(place, str(error))
            return ()
        check.reads_body = check.reads_body or reference.is_body
        pieces.append((literal, reference.read, name))
        literal = ""
    return (*pieces, (literal, None, ""))


def _cut_at_brace(text: str) -> tuple[str, str, str]:
    """What stands before the first brace, the brace, and what follows; ("...", "", "") where there is none."""
    places = [place for place in (text.find("{"), text.find("}")) if place >= 0]
    if not places:
        return text, "", ""
    place = min(places)
    return text[:place], text[place], text[place + 1 :]


def filled(place: str, template: Template, stand_in: str | None) -> Callable[[Run, object], object]:
    """The function of a `text` node."""

    def make(run: Run, here: object) -> object:
        run.spend(place, len(template))
        parts = []
        for literal, read, name in template:
            parts.append(literal)
            if read is not None:
                value = read(run.facts, here)
                if value is MISSING or value is None:
                    if stand_in is None:
                        raise MappingError(
                            place, "missing", f"nothing is there for {{{name}}}; a default would stand in"
                        )
                    value = stand_in
                parts.append(_text(place, value))
        size = sum(map(len, parts))
        run.put_out(place, size + 2)
        return "".join(parts)

    return make


def joined(place: str, make_parts: Callable[[Run, object], object], separator: str) -> Callable[[Run, object], object]:
    """The function of a `join` node."""

    def make(run: Run, here: object) -> object:
        parts = make_parts(run, here)
        if parts is MISSING:
            return MISSING
        if type(parts) is not list:
            raise MappingError(place, "not_a_list", "what is to be joined is not a list")
        run.spend(place, 1 + len(parts))
        texts = [_text(place, part) for part in parts]
        run.put_out(place, 2 + sum(map(len, texts)) + len(separator) * len(texts))
        return separator.join(texts)

    return make


def split(
    place: str, make_text: Callable[[Run, object], object], separator: str, index: int | None
) -> Callable[[Run, object], object]:
    """The function of a `split` node."""
    most = MAX_EACH_ITEMS if index is None else index + 1

    def make(run: Run, here: object) -> object:
        text = make_text(run, here)
        if text is MISSING:
            return MISSING
        if type(text) is not str:
            raise MappingError(place, "not_text", "what is to be split is not text")
        run.read_text(text)
        pieces = text.split(separator, most)
        run.spend(place, len(pieces))
        if index is None and len(pieces) > MAX_EACH_ITEMS:
            raise MappingError(place, "too_many_items", f"the text splits into more than {MAX_EACH_ITEMS:,} pieces")
        if index is None:
            run.put_out(place, 3 * len(pieces) + len(text))
            return pieces
        return pieces[index] if index < len(pieces) else MISSING

    return make


def _text(place: str, value: object) -> str:
    text = to_string(value)
    if not isinstance(text, str):
        raise MappingError(place, "not_text", "a list, an object or null cannot stand in a text")
    return text


def to_string(value: object) -> object:
    """A text as it is, a number or boolean as JSON writes it; MISSING for anything else."""
    match value:
        case str():
            return value
        case bool() | int() | float():
            return msgspec.json.encode(value).decode()
    return MISSING


def to_number(value: object) -> object:
    """A number as it is, a text that is a JSON number and nothing else; MISSING for anything else."""
    if type(value) is int or type(value) is float:
        return value
    if type(value) is not str or len(value) > _MAX_NUMBER_LENGTH or not value[:1].strip() or not value[-1:].strip():
        return MISSING
    try:
        number = msgspec.json.decode(value)
    except ValueError:
        return MISSING
    return number if type(number) is int or type(number) is float else MISSING


def to_boolean(value: object) -> object:
    """A boolean as it is, the texts `true` and `false`, the numbers 1 and 0; MISSING for anything else."""
    if type(value) is bool:
        return value
    if type(value) is str:
        return {"true": True, "false": False}.get(value, MISSING)
    if type(value) is int and value in (0, 1):
        return value == 1
    return MISSING


CONVERSIONS: Final[dict[str, Callable[[object], object]]] = {
    "number": to_number,
    "string": to_string,
    "boolean": to_boolean,
}


def encoded_length(value: object) -> int | None:
    """Bytes of the value as JSON; None for what is none."""
    try:
        return len(msgspec.json.encode(value))
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None
