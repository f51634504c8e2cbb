"""Asks the control API inside the process: the whole of Django, without a socket.

Whatever a caller from outside meets is met here too: the host's name, the bearer, permissions, forms, errors, the audit
log. Django gives each request a thread and takes its connection back, as it does for every other.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from relay_admin.access.acting import Via
from relay_admin.access.request_actor import VIA
from relay_admin.body_limit import Application, Message, Scope

MAX_ANSWER_BYTES = 1024 * 1024
"""Of one answer: an agent reads it whole. Pages of 200 rows have about 100 KB."""

_PASSED = (b"host", b"authorization")
"""Of the caller's headers. No cookie: who uses a tool shows a bearer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A call of a route. `path` is not quoted, `query` is. `body`: to be sent as JSON, None for nothing."""

    method: str
    path: str
    query: str = ""
    body: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """`document`: the JSON, {} where there was none. `retry_after`: the header, b"" where there was none."""

    status: int
    document: Any
    retry_after: bytes = b""

    @property
    def is_good(self) -> bool:
        """Whether it was done."""
        return self.status < 400


TOO_LONG = {
    "error": "answer_too_long",
    "message": f"The answer has more than {MAX_ANSWER_BYTES} bytes.",
    "action": "Ask for less: a smaller `limit`, or a narrower filter.",
}

NOT_ASKED = {
    "error": "bad_request",
    "message": "The control plane does not take such a request.",
    "action": "Use the address and the host's name that RELAY_CONTROL_URL and RELAY_CONTROL_HOSTS have.",
}


async def ask(django: Application, caller: Scope, asked: Asked) -> Answer:
    """What the route answers to whoever made the request `caller`."""
    sent = b"" if asked.body is None else json.dumps(asked.body).encode()
    status, said, is_long, retry_after = 500, bytearray(), False, b""
    waiting = [{"type": "http.request", "body": sent, "more_body": False}]

    async def receive() -> Message:
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()  # until the answer is there, and Django cancels this
        raise AssertionError

    async def send(message: Message) -> None:
        nonlocal status, is_long, retry_after
        if message["type"] == "http.response.start":
            status = message["status"]
            retry_after = {name.lower(): value for name, value in message["headers"]}.get(b"retry-after", b"")
        elif len(said) + len(message.get("body", b"")) > MAX_ANSWER_BYTES:
            is_long = True
        else:
            said.extend(message.get("body", b""))

    await django(_scope(caller, asked, sent), receive, send)
    if is_long:
        return Answer(413, TOO_LONG)
    if status >= 400 and not said.startswith(b"{"):
        return Answer(status, NOT_ASKED)  # a page for people, of what Django refuses before the API is asked
    return Answer(status, json.loads(said) if said else {}, retry_after)


def _scope(caller: Scope, asked: Asked, body: bytes) -> Scope:
    own: Mapping[bytes, bytes] = {
        b"accept": b"application/json",
        b"content-type": b"application/json",
        b"content-length": str(len(body)).encode(),
    }
    passed = [(name, value) for name, value in caller["headers"] if name.lower() in _PASSED]
    kept = ("asgi", "http_version", "scheme", "server", "client")
    return {
        **{name: caller[name] for name in kept if name in caller},
        "type": "http",
        "method": asked.method,
        "path": asked.path,
        "raw_path": quote(asked.path).encode(),
        "root_path": "",
        "query_string": asked.query.encode(),
        "headers": [*passed, *own.items()],
        VIA: Via.MCP,
    }
