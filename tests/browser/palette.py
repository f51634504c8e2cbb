"""Screenshots with a palette of 256 colours, a third of their size. No image library is needed for that alone.

PNG: W3C Portable Network Graphics (third edition), sections 9.2 (filters) and 11.2 (chunks). Pure.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = 256
_CHANNELS = {2: 3, 6: 4}  # of colour type: RGB, and with alpha
Colour = tuple[int, int, int]


def with_palette(picture: bytes) -> bytes:
    """An opaque PNG of 8 bits a channel as Chromium writes it, in 256 colours."""
    chunks = list(_chunks(picture))
    width, height, _depth, kind = struct.unpack(">IIBB", dict(chunks)[b"IHDR"][:10])
    channels = _CHANNELS[kind]
    packed = zlib.decompress(b"".join(data for name, data in chunks if name == b"IDAT"))
    rows = [list(zip(*(row[at::channels] for at in range(3)), strict=True)) for row in _rows(packed, width, channels)]
    counted = Counter(pixel for row in rows for pixel in row)
    palette = _palette([colour for colour, _ in counted.most_common()])
    index = {colour: _nearest(colour, palette) for colour in counted}
    plain = b"".join(b"\0" + bytes(index[pixel] for pixel in row) for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [(b"IHDR", head), (b"PLTE", bytes(value for colour in palette for value in colour)),
             (b"IDAT", zlib.compress(plain, 9)), (b"IEND", b"")]  # fmt: skip
    return SIGNATURE + b"".join(_chunk(name, data) for name, data in parts)


def _palette(colours: list[Colour]) -> list[Colour]:
    """Of `colours`, the most frequent first: as many as there is room for, each of the rest close to one of them."""
    for apart in range(0, 3 * 255**2, 20):
        chosen: list[Colour] = []
        for colour in colours:
            if all(_distance(colour, other) > apart for other in chosen):
                chosen.append(colour)
            if len(chosen) > COLOURS:
                break
        else:
            return chosen
    raise AssertionError("one colour is close to all others at the last step")


def _distance(one: Colour, other: Colour) -> int:
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2 + (one[2] - other[2]) ** 2


def _nearest(colour: Colour, palette: list[Colour]) -> int:
    return min(range(len(palette)), key=lambda at: _distance(colour, palette[at]))


def _chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(picture):
        size, name = struct.unpack_from(">I4s", picture, at)
        yield name, picture[at + 8 : at + 8 + size]
        at += 12 + size


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _rows(packed: bytes, width: int, channels: int) -> Iterator[bytearray]:
    """Rows without their filters."""
    size = width * channels
    above = bytearray(size)
    starts = range(0, len(packed) + 1, size + 1)
    for start, end in pairwise(starts):
        row = bytearray(packed[start + 1 : end])
        _unfilter(packed[start], row, above, channels)
        yield row
        above = row


def _unfilter(kind: int, row: bytearray, above: bytearray, channels: int) -> None:
    for at in range(len(row) if kind else 0):
        left = row[at - channels] if at >= channels else 0
        match kind:
            case 1:
                guess = left
            case 2:
                guess = above[at]
            case 3:
                guess = (left + above[at]) // 2
            case _:
                guess = _paeth(left, above[at], above[at - channels] if at >= channels else 0)
        row[at] = (row[at] + guess) & 255


def _paeth(left: int, above: int, corner: int) -> int:
    near = left + above - corner
    return min((left, above, corner), key=lambda value: abs(near - value))
