"""`/.well-known/oauth-protected-resource`: whose access tokens the edge takes, for clients that ask (RFC 9728).

A document of settings alone, made once. Where the edge's address has a path, the document is found at the same address
without it and at the one that section 3.1 makes of it.
"""

import json
from urllib.parse import urlsplit

from aiohttp import web

from relay_contract.errors import MethodNotAllowed
from relay_contract.nouns import Scope
from relay_edge.catalog.holder import Catalog
from relay_edge.cors import ORIGIN, Origins, lines_for
from relay_edge.error_shapes import ErrorShape
from relay_edge.further_lines import carry
from relay_edge.reply import request_id_of, send, send_error

PATH = "/.well-known/oauth-protected-resource"
KEPT_SECONDS = 300

_LINES = (("cache-control", f"public, max-age={KEPT_SECONDS}"),)


def metadata_url(resource: str) -> str:
    """Where the document of this resource is, by section 3.1. `resource`: an address without a slash at its end."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{PATH}{parts.path}"


class ResourceMetadata:
    """The handler."""

    def __init__(self, catalog: Catalog, issuer: str, resource: str) -> None:
        """`issuer`, `resource`: the addresses of the control plane and the edge."""
        self._catalog = catalog
        self._origins = Origins()
        document = {
            "resource": resource,
            "authorization_servers": [issuer],
            "scopes_supported": [Scope.INFERENCE.value],
            "bearer_methods_supported": ["header"],
            "resource_name": "Relay",
        }
        self._document = json.dumps(document).encode()
        self.ROUTES = dict.fromkeys((PATH, f"{PATH}{urlsplit(resource).path}"), self.handle)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """200 with the document."""
        if request.method not in ("GET", "HEAD"):
            return send_error(request, MethodNotAllowed(), ErrorShape.RELAY, request_id_of(request), allow="GET, HEAD")
        snapshot, origin = self._catalog.snapshot, request.headers.get(ORIGIN)
        if snapshot is not None and origin is not None and origin in self._origins.declared(snapshot):
            carry(request, lines_for(origin))
        return send(request, 200, self._document, lines=_LINES)
