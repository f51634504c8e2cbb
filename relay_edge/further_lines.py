"""Header lines that every answer to a request carries, whoever writes it: of a key that ends, for a page. Pure.

A request carries its lines from the moment its caller is known; one without them costs its answer one test for
emptiness.
"""

from typing import Final

from aiohttp import web

Lines = tuple[tuple[str, str], ...]

_LINES: Final = web.RequestKey("relay_further_lines", tuple)


def carry(request: web.BaseRequest, lines: Lines) -> None:
    """The answer to this request is to carry these lines."""
    request[_LINES] = lines


def further_bytes(request: web.BaseRequest) -> bytes:
    """The rendered lines that the answer to this request is to carry."""
    lines: Lines = request.get(_LINES, ()) if len(request) else ()
    return "".join([f"{name}: {value}\r\n" for name, value in lines]).encode("latin-1", "replace") if lines else b""
