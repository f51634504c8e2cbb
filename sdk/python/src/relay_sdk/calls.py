"""What is sent, and what comes back: the half of both clients that does no I/O."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx2

from relay_sdk.errors import ApiError, error_of

Json = dict[str, Any] | list[Any] | str | int | float | bool | None
Body = Json | bytes

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_SUCCESS = 400
_ACCEPTED = 202


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is not made yet. `is_repeatable`: twice is as once."""

    method: str
    url: str
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    is_repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered. `is_queued`: a 202 of the relay's own, committed, with targets still to be called;
    else it is the sync target's own answer, whatever its status."""

    request_id: str
    is_queued: bool
    status: int
    headers: Mapping[str, str]
    content: bytes
    target: str  # who answered; empty for a queued call
    is_repeated: bool  # the answer to an earlier call with the same Idempotency-Key

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.content)


def addresses(edge_url: str | None, control_url: str | None) -> tuple[str, str | None]:
    """Of edge and control plane, from the arguments or RELAY_URL and RELAY_CONTROL_URL. Raises ValueError."""
    edge = edge_url or os.environ.get("RELAY_URL", "")
    control = control_url or os.environ.get("RELAY_CONTROL_URL") or None
    if not edge:
        raise ValueError("Say where the relay is: Relay('https://relay.example.com'), or RELAY_URL.")
    for url in filter(None, (edge, control)):
        if httpx2.URL(url).scheme not in ("http", "https"):
            raise ValueError(f"{url!r} is no address with http or https.")
    return edge.rstrip("/"), control.rstrip("/") if control else None


def endpoint_call(
    edge_url: str,
    place: tuple[str, str, str],
    body: Body,
    *,
    method: str,
    idempotency_key: str | None,
    headers: Mapping[str, str] | None,
    params: Mapping[str, str] | None,
) -> Call:
    """A call to `/r/{project}/{line}/{endpoint}`. Raises ValueError for what is no name."""
    for name in place:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a project, line or endpoint.")
    content, kind = _content(body)
    sent = {"content-type": kind, **{name.lower(): value for name, value in (headers or {}).items()}}
    if idempotency_key is not None:
        sent["idempotency-key"] = idempotency_key
    return Call(
        method=method,
        url=f"{edge_url}/r/" + "/".join(quote(name) for name in place),
        content=content,
        headers=sent,
        params=dict(params or {}),
        is_repeatable=idempotency_key is not None,
    )


def read(url: str, **params: str | int | bool | None) -> Call:
    """A GET. Parameters that are None are left out."""
    asked = {name: _word(value) for name, value in params.items() if value is not None}
    return Call("GET", url, params=asked, is_repeatable=True)


def write(method: str, url: str, document: Json = None) -> Call:
    """A change at the control plane, which nobody repeats by himself."""
    content, kind = _content({} if document is None else document)
    return Call(method, url, content, {"content-type": kind})


def refusal(answer: httpx2.Response, content: bytes) -> ApiError | None:
    """The relay's own error; None for every answer that is somebody's, whatever its status. Only the relay says
    whose fault an error is, and it takes that header off what targets answer."""
    if answer.status_code < _SUCCESS:
        return None
    if "x-relay-target" in answer.headers and "x-relay-error-source" not in answer.headers:
        return None
    return error_of(answer.status_code, answer.headers, content)


def answer_of(answer: httpx2.Response, content: bytes) -> Answer:
    """What an endpoint answered. Raises ApiError."""
    if (refused := refusal(answer, content)) is not None:
        raise refused
    target = answer.headers.get("x-relay-target", "")
    return Answer(
        request_id=answer.headers.get("x-request-id", ""),
        is_queued=answer.status_code == _ACCEPTED and not target,
        status=answer.status_code,
        headers=answer.headers,
        content=content,
        target=target,
        is_repeated=answer.headers.get("idempotent-replayed") == "true",
    )


def document_of(answer: httpx2.Response, content: bytes) -> Any:
    """A JSON answer of edge or control plane. Raises ApiError."""
    if answer.status_code >= _SUCCESS:
        raise error_of(answer.status_code, answer.headers, content)
    return json.loads(content) if content else None


def _content(body: Body) -> tuple[bytes, str]:
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(), "application/json"


def _word(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
