"""`GET /v1/models` and `GET /v1/models/{id}`: what a relay key reaches and is served now, in either vendor's form.

Anthropic's where `anthropic-version` is sent or the address is below /anthropic, else OpenAI's. An alias is listed
beside the model that it stands for. Lists are kept for as long as the snapshot they were made of.
Sources, read 2026-11: platform.openai.com/docs/api-reference/models, docs.anthropic.com/en/api/models-list.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from aiohttp import web

from relay_contract.errors import BadField, MethodNotAllowed, ModelNotFound, RelayError, Unavailable
from relay_contract.nouns import Policy, PolicyId, Scope
from relay_edge.auth import Authenticator
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.error_shapes import ErrorShape
from relay_edge.metrics import Metrics
from relay_edge.protocols.anthropic_messages import VERSION_HEADER
from relay_edge.reply import request_id_of, send, send_error
from relay_edge.routing import Listed, Router

PATHS = ("/v1/models", "/openai/v1/models", "/anthropic/v1/models")
DEFAULT_LIMIT = 20
MAX_LIMIT = 1_000
MAX_QUERY_FIELDS = 16

_Query = Mapping[str, str]


class ModelList:
    """The handlers. Errors are in the caller's shape."""

    def __init__(self, catalog: Catalog, authenticator: Authenticator, metrics: Metrics) -> None:
        self._catalog = catalog
        self._authenticator = authenticator
        self._metrics = metrics.surfaces["models"]
        self._snapshot: Snapshot | None = None
        self._reachable: dict[PolicyId | None, dict[str, Listed]] = {}
        self._lists: dict[PolicyId | None, bytes] = {}
        self.ROUTES = dict.fromkeys(PATHS, self.handle)
        self.PREFIXES = dict.fromkeys([f"{path}/" for path in PATHS], self.handle)
        """Of the addresses of single models, whose names may hold slashes."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """200 with a list or a model."""
        started = time.monotonic()
        request_id = request_id_of(request)
        is_anthropic = VERSION_HEADER in request.headers or request.raw_path.startswith("/anthropic/")
        shape = ErrorShape.ANTHROPIC if is_anthropic else ErrorShape.OPENAI
        status = 200
        try:
            body = self._answer(request, shape)
            return send(request, 200, body, lines=(("x-request-id", request_id),))
        except RelayError as error:
            status = error.status
            return send_error(request, error, shape, request_id, allow="GET, HEAD")
        finally:
            self._metrics.done(status, time.monotonic() - started)

    def _answer(self, request: web.BaseRequest, shape: ErrorShape) -> bytes:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed
        snapshot = self._catalog.snapshot
        if snapshot is None:
            raise Unavailable(retry_after_seconds=1)
        caller = self._authenticator.caller_of(snapshot, request, Scope.INFERENCE, time.time())
        path, _, query = request.raw_path.partition("?")
        name = path.partition("/v1/models")[2]
        listed = self._listed(snapshot, caller.policy)
        if name:
            return msgspec.json.encode(_one(listed, name[1:], shape))
        if shape is ErrorShape.ANTHROPIC:
            return msgspec.json.encode(_page(list(listed.values()), _fields(query)))
        policy_id = None if caller.policy is None else caller.policy.id
        body = self._lists.get(policy_id)
        if body is None:
            data = [_openai(each) for each in listed.values()]
            body = self._lists[policy_id] = msgspec.json.encode({"object": "list", "data": data})
        return body

    def _listed(self, snapshot: Snapshot, policy: Policy | None) -> dict[str, Listed]:
        """By name, in the order of names."""
        if self._snapshot is not snapshot:
            self._snapshot, self._reachable, self._lists = snapshot, {}, {}
        policy_id = None if policy is None else policy.id
        listed = self._reachable.get(policy_id)
        if listed is None:
            listed = {each.name: each for each in Router(snapshot).reachable(policy)}
            self._reachable[policy_id] = listed
        return listed


def _one(listed: Mapping[str, Listed], written: str, shape: ErrorShape) -> dict[str, Any]:
    """`written`: the id as it stands in the address."""
    try:
        name = unquote_to_bytes(written).decode()
    except UnicodeDecodeError:
        raise ModelNotFound from None
    if name not in listed:
        raise ModelNotFound
    return _anthropic(listed[name]) if shape is ErrorShape.ANTHROPIC else _openai(listed[name])


def _fields(query: str) -> _Query:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS, errors="strict")
    except ValueError:
        raise BadField("", "The query of this address cannot be read.") from None
    return dict(pairs)


def _page(listed: Sequence[Listed], query: _Query) -> dict[str, Any]:
    """`limit` models behind `after_id`, or before `before_id`. Raises BadField."""
    limit = _limit(query.get("limit"))
    after, before = query.get("after_id"), query.get("before_id")
    if after is not None and before is not None:
        raise BadField("before_id", "cannot stand beside after_id.")
    if before is not None:
        left = listed[: _place(listed, before, "before_id")]
        shown, has_more = left[-limit:], len(left) > limit
    else:
        left = listed if after is None else listed[_place(listed, after, "after_id") + 1 :]
        shown, has_more = left[:limit], len(left) > limit
    return {
        "data": [_anthropic(each) for each in shown],
        "has_more": has_more,
        "first_id": shown[0].name if shown else None,
        "last_id": shown[-1].name if shown else None,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_LIMIT):
        raise BadField("limit", f"has to be a whole number from 1 to {MAX_LIMIT}.")
    return int(text)


def _place(listed: Sequence[Listed], name: str, field: str) -> int:
    place = next((place for place, each in enumerate(listed) if each.name == name), None)
    if place is None:
        raise BadField(field, "is no model of this list.")
    return place


def _openai(listed: Listed) -> dict[str, Any]:
    model = listed.model
    created = int(model.created_at.timestamp())
    return {"id": listed.name, "object": "model", "created": created, "owned_by": model.owned_by}


def _anthropic(listed: Listed) -> dict[str, Any]:
    created_at = _rfc3339(listed.model.created_at)
    return {"type": "model", "id": listed.name, "display_name": listed.name, "created_at": created_at}


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
