"""`/mcp` beside Django: who comes in, and the life of the server behind it.

A bearer is asked for before anything of a message is read, by GET /auth/whoami inside the process: 401 with the address
of the metadata by which clients sign in (RFC 9728 section 5.1). Pages of other sites are refused by their Origin, and
other names of this host by Django (ALLOWED_HOSTS): the two halves of a DNS rebinding. The specification asks for both
(Streamable HTTP, security warning, revision 2025-11-25).
"""

import asyncio
import importlib
import json
from typing import Any
from urllib.parse import urlsplit

from relay_admin.body_limit import Application, Receive, Scope, Send
from relay_admin.control_api.errors import shape
from relay_admin.mcp.inside import Answer, Asked, ask

PATH = "/mcp"
ONLY_POST = shape("method_not_allowed", "Messages come by POST; no stream is kept open.", "Send POST /mcp.")
OTHER_SITE = shape("origin_not_allowed", "A page of another site may not call here.", "Call without a browser.")
_SERVER = "relay_admin.mcp.server"


class Door:
    """An ASGI application around Django's. `control_url`: this plane's public address."""

    def __init__(self, django: Application, control_url: str) -> None:
        self._django = django
        self._origin = f"{urlsplit(control_url).scheme}://{urlsplit(control_url).netloc}"
        self._challenge = f'Bearer resource_metadata="{control_url}/.well-known/oauth-protected-resource{PATH}"'
        self._running: asyncio.Task[None] | None = None
        self._manager: asyncio.Future[Any] | None = None
        self._over = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and scope["path"] in (PATH, f"{PATH}/"):
            await self._serve(scope, receive, send)
        else:
            await self._django(scope, receive, send)

    async def stop(self) -> None:
        """Ends the server, if any client has come."""
        self._over.set()
        if self._running is not None:
            await self._running

    async def _live(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        if headers.get(b"origin", self._origin.encode()) != self._origin.encode():
            await _answer(send, 403, OTHER_SITE)
        elif scope["method"] != "POST":
            await _answer(send, 405, ONLY_POST, (b"allow", b"POST"))
        elif (said := await ask(self._django, scope, Asked("GET", "/auth/whoami"))).is_good:
            await (await self._started()).handle_request(scope, receive, send)
        elif said.status == 401:
            error = ', error="invalid_token"' if b"authorization" in headers else ""
            await _answer(send, 401, said.document, (b"www-authenticate", f"{self._challenge}{error}".encode()))
        else:
            await _answer(send, said.status, said.document, *_pause(said))

    async def _started(self) -> Any:
        """The SDK's session manager, at work. One task holds it: its task group is entered and left by the same."""
        if self._manager is None:
            self._manager = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._manager))
        return await asyncio.shield(self._manager)

    async def _run(self, told: "asyncio.Future[Any]") -> None:
        try:
            server = await asyncio.to_thread(importlib.import_module, _SERVER)
            manager = server.manager(self._django)
            async with manager.run():
                told.set_result(manager)
                await self._over.wait()
        except Exception as error:
            if told.done():
                raise
            self._manager = None  # the next client tries again
            told.set_exception(error)


def _pause(said: Answer) -> list[tuple[bytes, bytes]]:
    return [(b"retry-after", said.retry_after)] if said.retry_after else []


async def _answer(send: Send, status: int, document: Any, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps(document).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})
