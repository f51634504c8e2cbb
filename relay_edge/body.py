"""A caller's body, whole and in memory, within a size and a time.

Bodies that came with the head cost no wake-up. A larger one, fixed or chunked, stops at the first byte over the limit.
"""

import asyncio

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from relay_contract.errors import BadRequest, BodyTimeout, BodyTooLarge

BODY_SECONDS = 60.0

UNDONE_CODINGS = frozenset({"gzip", "deflate", "identity", ""})
"""What aiohttp undoes without further libraries; one of them, not a chain."""
CODINGS_TEXT = "The relay undoes a content-encoding of gzip or deflate, and this body is encoded otherwise."

_UNREADABLE = "The body is cut, or not encoded as its headers say."
_CHUNKED = "chunked"
_CODED = "The relay takes no transfer-encoding but chunked. Name others in content-encoding."
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def read_body(request: web.BaseRequest, max_bytes: int, seconds: float = BODY_SECONDS) -> bytes:
    """The body. aiohttp has already undone a `content-encoding`; the limit counts what came out of it.

    Raises BodyTooLarge, BodyTimeout or BadRequest (cut, not what its headers say, or transferred in another coding).
    After the first two the connection cannot serve another request: answer with `close=True`.
    """
    length = request.content_length
    if length is None and request.headers.get("transfer-encoding", _CHUNKED).strip().lower() != _CHUNKED:
        raise BadRequest(_CODED)  # aiohttp undoes the chunks and leaves the rest as if it were the body
    if length is not None and length > max_bytes:
        raise BodyTooLarge(f"The body has {length} bytes; this address takes at most {max_bytes}.")
    content = request.content
    if not content.is_eof():
        if request.headers.get("expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(_CONTINUE)
        return await _read_slowly(request, max_bytes, seconds)
    try:
        body = content.read_nowait()
        while not content.at_eof():
            if len(body) > max_bytes:
                break
            body += content.read_nowait()
    except (RequestPayloadError, HttpProcessingError) as error:
        raise BadRequest(_UNREADABLE) from error
    if len(body) > max_bytes:
        raise BodyTooLarge(f"The body is larger than {max_bytes} bytes.")
    return body


async def _read_slowly(request: web.BaseRequest, max_bytes: int, seconds: float) -> bytes:
    content = request.content
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while piece := await content.readany():
                size += len(piece)
                if size > max_bytes:
                    raise BodyTooLarge(f"The body is larger than {max_bytes} bytes.")
                pieces.append(piece)
    except TimeoutError:
        raise BodyTimeout from None
    except (RequestPayloadError, HttpProcessingError) as error:
        raise BadRequest(_UNREADABLE) from error
    return b"".join(pieces)
