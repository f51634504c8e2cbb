"""Bytes for people: text where they are text, else a hex dump. Pure."""

from dataclasses import dataclass

PREVIEW_BYTES = 16 * 1024
_HEX_BYTES = 2048
_PER_LINE = 16
_MAX_UTF8_TAIL = 3


@dataclass(frozen=True, slots=True)
class Preview:
    """`text` is to be escaped by whoever renders it. `kind` is text or hex."""

    text: str
    kind: str
    shown_bytes: int


def preview(body: bytes) -> Preview:
    """The start of a body. A character that the cut splits in two is left out."""
    start = body[:PREVIEW_BYTES]
    for tail in range(_MAX_UTF8_TAIL + 1):
        part = start[: len(start) - tail]
        try:
            text = part.decode()
        except UnicodeDecodeError:
            continue
        if all(character.isprintable() or character in "\t\r\n" for character in text):
            return Preview(text, "text", len(part))
        break
    return Preview(_hex(start[:_HEX_BYTES]), "hex", min(len(start), _HEX_BYTES))


def _hex(body: bytes) -> str:
    lines = []
    for offset in range(0, len(body), _PER_LINE):
        row = body[offset : offset + _PER_LINE]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{offset:08x}  {row.hex(' '):<{_PER_LINE * 3}} {shown}")
    return "\n".join(lines)
