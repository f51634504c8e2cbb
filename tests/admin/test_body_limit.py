"""Large bodies are refused at the door, before Django keeps them."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from django.core.asgi import get_asgi_application

from relay_admin.body_limit import MAX_BODY_BYTES, BodyLimit

PIECE = b"x" * 65_536
END = b""


def call(path: str, pieces: Iterable[bytes], *headers: tuple[bytes, bytes]) -> tuple[list[dict[str, Any]], int]:
    """POST to the application; what it sent, and how many pieces it took."""
    sent: list[dict[str, Any]] = []
    taken = 0
    waiting = iter([*pieces, END])

    async def receive() -> dict[str, Any]:
        nonlocal taken
        piece = next(waiting, None)
        if piece is None:
            await asyncio.Event().wait()  # the caller waits for the answer
        if piece != END:
            taken += 1
        return {"type": "http.request", "body": piece, "more_body": piece != END}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8081),
    }
    asyncio.run(BodyLimit(get_asgi_application())(scope, receive, send))
    return sent, taken


@pytest.mark.parametrize("path", ["/auth/login", "/admin/login/", "/nowhere"])
def test_an_announced_body_is_not_taken(path: str) -> None:
    sent, taken = call(path, [PIECE], (b"content-length", str(MAX_BODY_BYTES + 1).encode()))
    assert (sent[0]["status"], taken) == (413, 0)
    assert json.loads(sent[1]["body"])["error"] == "body_too_large"


def test_an_unannounced_body_is_taken_up_to_the_limit() -> None:
    most = MAX_BODY_BYTES // len(PIECE)
    sent, taken = call("/nowhere", [PIECE] * (most + 100))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert (sent[0]["status"], taken) == (413, most + 1)


def test_a_body_within_the_limit_is_read() -> None:
    most = MAX_BODY_BYTES // len(PIECE)
    sent, taken = call("/nowhere", [PIECE] * most)
    assert (sent[0]["status"], taken) == (404, most)
