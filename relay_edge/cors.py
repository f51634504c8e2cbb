"""Pages in browsers that call the edge with an application's tokens (WHATWG Fetch, "HTTP-CORS protocol").

An application declares the origins of its pages. A preflight carries no token, so it is answered for an origin that any
enabled application declares; the call itself is taken, and its answer may be read, only from an origin of the token's
own application. Credentials (cookies) are never allowed, and relay keys are none of a page's business. No I/O.
"""

from typing import Final

from aiohttp import web

from relay_contract.nouns import Application
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.further_lines import Lines
from relay_edge.reply import send

ORIGIN: Final = "Origin"
PREFLIGHT_SECONDS: Final = 600

_ASKED: Final = "Access-Control-Request-Method"
_PREFLIGHT: Final[Lines] = (
    ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
    ("access-control-allow-headers", "authorization, *"),  # the star does not stand for that one
    ("access-control-max-age", str(PREFLIGHT_SECONDS)),
)


def lines_for(origin: str) -> Lines:
    """What lets a page of this origin, which somebody declared, read an answer."""
    return (
        ("access-control-allow-origin", origin),
        ("access-control-expose-headers", "*"),
        ("vary", "origin"),
    )


class Origins:
    """The origins that enabled applications declare. One for each process."""

    __slots__ = ("_applications", "_declared")

    def __init__(self) -> None:
        self._applications: object = None
        self._declared: frozenset[str] = frozenset()

    def declared(self, snapshot: Snapshot) -> frozenset[str]:
        """Every one; found once as long as no application changes."""
        portion = snapshot.portion(Application)
        if portion is not self._applications:
            self._declared = frozenset(
                origin for each in snapshot.applications() if each.is_enabled for origin in each.allowed_origins
            )
            self._applications = portion
        return self._declared

    def preflight(self, snapshot: Snapshot | None, request: web.BaseRequest) -> web.StreamResponse | None:
        """The answer to a preflight of a declared origin. None for any other OPTIONS, which is an ordinary call."""
        origin = request.headers.get(ORIGIN)
        if snapshot is None or origin is None or _ASKED not in request.headers:
            return None
        if origin not in self.declared(snapshot):
            return None
        return send(request, 204, b"", lines=(("access-control-allow-origin", origin), *_PREFLIGHT, ("vary", "origin")))
