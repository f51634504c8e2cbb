"""What every answer says to a relay key that is about to end, whoever writes the answer. Pure.

A request carries its lines from the moment its key is known; one without them costs its answer one test for emptiness.
"""

from typing import Final

from aiohttp import web

from relay_contract import headers
from relay_contract.nouns import RelayKey

Lines = tuple[tuple[str, str], ...]

_NOTICE: Final = web.RequestKey("relay_key_notice", tuple)
_ROTATED: Final[Lines] = ((headers.KEY_SUCCESSOR, "true"),)
_EXPIRED: Final[Lines] = ((headers.KEY_STATUS, headers.KEY_EXPIRED_GRACE),)


def notice_of(key: RelayKey) -> Lines:
    """The header lines of a key in its last days."""
    return _ROTATED if key.has_successor else _EXPIRED


def notify(request: web.BaseRequest, lines: Lines) -> None:
    """The answer to this request is to carry these lines."""
    request[_NOTICE] = lines


def noticed_bytes(request: web.BaseRequest) -> bytes:
    """The rendered lines that the answer to this request is to carry."""
    lines: Lines = request.get(_NOTICE, ()) if len(request) else ()
    return "".join([f"{name}: {value}\r\n" for name, value in lines]).encode("ascii") if lines else b""
