"""An MCP client by hand: what goes over the wire, to the door around Django, in this process."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections

from relay_admin.mcp.door import Door

REVISION = "2025-11-25"


class SameThread(ASGIHandler):
    """Django on the test's thread and in its transaction, as Django's own test client has it."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI's."""
        signals = (request_started, request_finished)
        for signal in signals:
            signal.disconnect(close_old_connections)
        try:
            await self.handle(scope, receive, send)
        finally:
            for signal in signals:
                signal.connect(close_old_connections)


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """As JSON."""
        return json.loads(self.body)


def send(body: Any = None, method: str = "POST", **headers: str) -> Said:
    """One request at /mcp; names of headers with _ for -."""
    return async_to_sync(_send)(json.dumps(body).encode() if body is not None else b"", method, headers)


def ask(bearer: str, method: str, **params: Any) -> Any:
    """The result of a message."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    said = send(message, authorization=f"Bearer {bearer}")
    assert said.status == 200, said
    return said.document["result"]


def tools(bearer: str) -> dict[str, dict[str, Any]]:
    """What it sees, by name."""
    return {tool["name"]: tool for tool in ask(bearer, "tools/list")["tools"]}


def call(bearer: str, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """What a tool did; its document, for one that was refused."""
    result = ask(bearer, "tools/call", name=tool, arguments=arguments)
    [text] = result["content"]
    shown: dict[str, Any] = json.loads(text["text"])
    assert result.get("isError", False) == ("structuredContent" not in result)
    assert result.get("structuredContent", shown) == shown
    return shown


async def _send(body: bytes, method: str, headers: dict[str, str]) -> Said:
    given = {
        "host": "127.0.0.1",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": REVISION,
        "content-length": str(len(body)),
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": "/mcp",
        "raw_path": b"/mcp", "query_string": b"", "root_path": "", "scheme": "http", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8081), "headers": [(name.encode(), text.encode()) for name, text in given.items()],
    }  # fmt: skip
    waiting = [{"type": "http.request", "body": body, "more_body": False}]
    status, answered, said = 0, {}, b""

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop()

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, answered, said
        if message["type"] == "http.response.start":
            status = message["status"]
            answered = {name.decode().lower(): text.decode() for name, text in message["headers"]}
        else:
            said += message.get("body", b"")

    door = Door(SameThread(), settings.CONTROL_URL)
    try:
        await door(scope, receive, send)
    finally:
        await door.stop()
    return Said(status, answered, said)
