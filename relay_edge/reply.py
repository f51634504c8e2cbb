"""Answers written straight to the caller's connection, past aiohttp's response objects (13 us each).

aiohttp's server wants a response object from a handler; `Sent` is one that is already on its way. Everything that it
would have seen to is seen to here: HTTP/1.0 callers, HEAD, keep-alive, a caller who has gone, line breaks in headers.
"""

import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from aiohttp import HttpVersion11, web

from relay_contract import headers
from relay_contract.errors import RateLimited, RelayError
from relay_contract.ids import uuid7_text
from relay_edge import limit_headers
from relay_edge.error_shapes import ErrorShape, error_body, error_headers
from relay_edge.further_lines import further_bytes

if TYPE_CHECKING:
    from relay_edge.door import CallerConnection  # which answers through this file

JSON: Final = "application/json"

MAX_REQUEST_ID_LENGTH = 128

STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {HTTPStatus(status).phrase if status in set(HTTPStatus) else ''}\r\n".encode()
    for status in range(100, 600)
}
"""Reasons are ours: an upstream host's own wording never reaches a caller's parser."""

_NO_CONTENT = frozenset({204, 304})


class Sent(web.StreamResponse):
    """A response that was written already. Two instances serve every request: aiohttp only reads `keep_alive`."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive
        self._eof_sent = True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to send."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""


SENT: Final = Sent(keep_alive=True)
SENT_AND_CLOSE: Final = Sent(keep_alive=False)
"""The connection ends after this answer."""


class HeaderRefusedError(ValueError):
    """A header line would have broken out of its line."""


def sent_request_id(request: web.BaseRequest) -> str | None:
    """The caller's own id where it is short printable ASCII."""
    sent = request.headers.get(headers.REQUEST_ID)
    if sent is not None and 0 < len(sent) <= MAX_REQUEST_ID_LENGTH and sent.isascii() and sent.isprintable():
        return sent
    return None


def request_id_of(request: web.BaseRequest) -> str:
    """The caller's own id, else a fresh one."""
    return sent_request_id(request) or uuid7_text()


def may_keep_alive(request: web.BaseRequest) -> bool:
    """Whether the caller's connection lives on after this answer. HTTP/1.0 callers always get a closed one, and so does
    everybody of a process that is about to end."""
    connection = cast("CallerConnection", request.protocol)
    return request.keep_alive and request.version >= HttpVersion11 and not connection.is_draining


class _Date:
    """The `date` line, made once a second."""

    __slots__ = ("line", "second")

    def __init__(self) -> None:
        self.second = 0
        self.line = b""


_date = _Date()


def date_line() -> bytes:
    """`date: ...\\r\\n` of now (RFC 9110 section 6.6.1)."""
    second = int(time.time())
    if second != _date.second:
        _date.second, _date.line = second, f"date: {formatdate(second, usegmt=True)}\r\n".encode()
    return _date.line


def header_lines(lines: Sequence[tuple[str, str]]) -> bytes:
    """Rendered header lines. HeaderRefusedError for a name or value that would not stay on its line."""
    rendered = "".join([f"{name}: {value}\r\n" for name, value in lines]).encode("latin-1", "replace")
    if not are_whole_lines(rendered, len(lines)):
        raise HeaderRefusedError
    return rendered


def are_whole_lines(rendered: bytes, count: int) -> bool:
    """Whether `count` pieces, each ended by CRLF when they were joined, are as many lines: no further CR, LF or NUL."""
    return rendered.count(b"\n") == count == rendered.count(b"\r") and b"\0" not in rendered


def send(
    request: web.BaseRequest,
    status: int,
    body: bytes,
    *,
    content_type: str = JSON,
    lines: tuple[tuple[str, str], ...] = (),
    close: bool = False,
) -> web.StreamResponse:
    """Writes a whole answer and returns what the handler has to return. `lines` are further headers.

    `close` ends the connection afterwards. A caller who has gone is no error: there is nobody to tell.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        return SENT_AND_CLOSE
    keep = not close and may_keep_alive(request)
    has_body = status not in _NO_CONTENT
    parts = [STATUS_LINES[status], date_line(), further_bytes(request), header_lines(lines)]
    if has_body:
        parts.append(b"content-type: %b\r\ncontent-length: %d\r\n" % (content_type.encode(), len(body)))
    parts.append(b"\r\n" if keep else b"connection: close\r\n\r\n")
    if has_body and request.method != "HEAD":
        parts.append(body)
    transport.write(b"".join(parts))
    return SENT if keep else SENT_AND_CLOSE


def send_error(
    request: web.BaseRequest,
    error: RelayError,
    shape: ErrorShape,
    request_id: str,
    *,
    allow: str = "",
    lines: tuple[tuple[str, str], ...] = (),
    close: bool = False,
) -> web.StreamResponse:
    """Writes an error in the caller's shape. `allow` names the methods for a 405.

    Nothing can follow a body that could not be read, so such a connection ends as well.
    """
    close = close or request.content.exception() is not None
    limits = limit_headers.lines(error.limits, shape, time.time()) if isinstance(error, RateLimited) else ()
    further = (*error_headers(error, allow), *limits, (headers.REQUEST_ID, request_id), *lines)
    return send(request, error.status, error_body(error, shape, request_id), lines=further, close=close)
