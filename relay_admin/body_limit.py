"""Refuses large bodies at the control plane's door. Django would first write all of one to a file, however long it is,
before it asks who sends it.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Above the longest form (Django takes 2.5 MB of fields) and a replay of 10,000 ids (400 KB)."""

TOO_LARGE = {
    "error": "body_too_large",
    "message": f"A body may have {MAX_BODY_BYTES} bytes at the most.",
    "action": "Send it in parts.",
}


class BodyLimit:
    """An ASGI application around another. 413 where the announced or the received body is too long."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        if _announced_bytes(scope) > MAX_BODY_BYTES:
            await _refuse(send)
            return
        received_bytes = 0
        is_too_large = has_answered = False

        async def counted() -> Message:
            nonlocal received_bytes, is_too_large
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > MAX_BODY_BYTES:
                is_too_large = True
                return {"type": "http.disconnect"}  # Django closes its file and answers nothing
            return message

        async def noticed(message: Message) -> None:
            nonlocal has_answered
            has_answered = True
            await send(message)

        await self._application(scope, counted, noticed)
        if is_too_large and not has_answered:
            await _refuse(send)


def _announced_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name.lower() == b"content-length" and value.isdigit() and len(value) < 20:
            return int(value)
    return 0


async def _refuse(send: Send) -> None:
    body = json.dumps(TOO_LARGE).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
