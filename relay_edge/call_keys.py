"""Calls to relay endpoints that carry an Idempotency-Key: each is made once, and its answer given to whoever sends it
again.

The unique key in Postgres decides, in the statement that commits the call (`relay_contract.intake`): two edges, two
callers at once and a commit whose outcome nobody heard of all end in one row. Only a call that came second is looked up
(`stored.py`). Limits count it, credits do not.

Cost: SHA-256 of the body, in a thread from LARGE_BYTES on; a call that came second costs one share in a read besides.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web

from relay_contract import headers
from relay_contract.errors import AnswerNotKept, CallInProgress, IdempotencyKeyReused, RelayError, SyncTimeout
from relay_contract.nouns import RESPONSE_MODES, DeliveryMode, Target
from relay_edge.error_shapes import ErrorShape
from relay_edge.idempotency_key import read_idempotency_key
from relay_edge.passed_headers import TARGET_NAMES
from relay_edge.relay_call import CallKey, RelayCall
from relay_edge.reply import send, send_error
from relay_edge.stored import StoredAnswer, StoredCall

LARGE_BYTES = 1_048_576
RETRY_AFTER_SECONDS = 1.0
GRACE_SECONDS = 5.0
"""What an edge gets beyond a sync caller's deadline to write down its end; until then the call is in progress."""
ROUNDS = 2
"""A key may be forgotten between the commit that lost to it and its look-up: then the call is made after all."""
_TYPE = "content-type"
_UNKNOWN_TYPE = "application/octet-stream"

Run = Callable[[], Awaitable[web.StreamResponse | None]]


class Stored(Protocol):
    """Where first calls are found: `stored.StoredCalls`."""

    async def read(self, endpoint_id: int, key: str, /) -> StoredCall | None:
        """None where its time is over. Raises AcceptUnavailable."""


class CallKeys:
    """One for each process: `endpoints.Idempotency`."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    def read(self, call: RelayCall) -> None:
        """Fills in `call.key` where the caller sent one and the endpoint heeds it. Raises BadHeader."""
        if headers.IDEMPOTENCY_KEY in call.request.headers and call.route.endpoint.idempotency_seconds:
            call.key = CallKey(read_idempotency_key(call.request.headers.getall(headers.IDEMPOTENCY_KEY)), b"")

    async def once(self, call: RelayCall, run: Run) -> web.StreamResponse:
        """Makes the call, or answers what the first with its key came to. Raises CallInProgress, IdempotencyKeyReused,
        AcceptUnavailable and what `run` does."""
        assert call.key is not None
        key = call.key = CallKey(call.key.key, await _hash(call))
        for _ in range(ROUNDS):
            answer = await run()
            if answer is not None:
                return answer
            stored = await self._stored.read(call.route.endpoint.id, key.key)
            if stored is not None:
                return _again(call, key, stored)
        raise CallInProgress(retry_after_seconds=RETRY_AFTER_SECONDS)


async def _hash(call: RelayCall) -> bytes:
    return hash_of(call) if len(call.body) < LARGE_BYTES else await asyncio.to_thread(hash_of, call)


def hash_of(call: RelayCall) -> bytes:
    """Tells calls apart: the caller's mode, method, path and query as sent, content type, and the body. No other
    header: proxies add to them."""
    url = call.request.rel_url
    head = (call.caller.mode.value, call.request.method, url.raw_path, url.raw_query_string, call.content_type)
    digest = hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in (each.encode() for each in head)))
    digest.update(call.body)
    return digest.digest()


def _again(call: RelayCall, key: CallKey, stored: StoredCall) -> web.StreamResponse:
    if stored.body_hash != key.body_hash:
        raise IdempotencyKeyReused
    target = _answering(call)
    if stored.status or (stored.status is None and target is None):
        return _queued(call, stored)
    if stored.answer is not None and _is_of_target(call, stored):
        return _answered(call, stored, stored.answer)
    return _failed(call, stored, _without_answer(stored, target))


def _answering(call: RelayCall) -> Target | None:
    return next((target for target in call.route.targets if target.delivery_mode in RESPONSE_MODES), None)


def _is_of_target(call: RelayCall, stored: StoredCall) -> bool:
    """Answers that are compared are kept as well: until the end of the call says which is the caller's, one that is
    found may be a shadow's."""
    return stored.end is not None or not any(target.compares_with for target in call.route.every_target)


def _without_answer(stored: StoredCall, target: Target | None) -> RelayError:
    """Why there is no answer to give again."""
    where = f"The first call with this key has the id {stored.request_id}"
    is_stream = target is not None and target.delivery_mode is DeliveryMode.STREAM
    if stored.is_live and not (stored.end is not None and stored.end.is_stream):
        return CallInProgress(retry_after_seconds=RETRY_AFTER_SECONDS)  # 504 may have been said: the answer may come
    if stored.end is None:
        if is_stream or target is None or stored.age_seconds < target.timeout_seconds + GRACE_SECONDS:
            return CallInProgress(retry_after_seconds=RETRY_AFTER_SECONDS)
        return SyncTimeout(f"{where}; no answer to it is known. It may have been done all the same.")
    if stored.end.is_stream:
        return AnswerNotKept(f"{where}. It was made, and streams are not kept: there is no second answer to it.")
    if stored.end.status == SyncTimeout.status:
        return SyncTimeout(f"{where}, and the target did not answer it in time. It may have been done all the same.")
    return AnswerNotKept(f"{where}. It ended with {stored.end.error or stored.end.status}, and no answer is kept.")


def _lines(call: RelayCall, stored: StoredCall) -> tuple[tuple[str, str], ...]:
    return (
        (headers.REQUEST_ID, str(call.request_id)),
        (headers.IDEMPOTENT_REPLAYED, "true"),
        (headers.ORIGINAL_REQUEST_ID, str(stored.request_id)),
    )


def _queued(call: RelayCall, stored: StoredCall) -> web.StreamResponse:
    """The bytes of the first answer."""
    call.status = 202
    body = b'{"status":"queued","requestId":"%b"}' % str(stored.request_id).encode()
    durability = (headers.DURABILITY, headers.DURABILITY_COMMITTED)
    return send(call.request, 202, body, lines=(*_lines(call, stored), durability))


def _answered(call: RelayCall, stored: StoredCall, answer: StoredAnswer) -> web.StreamResponse:
    if answer.is_cut:
        text = f"The answer to the first call with this key, {stored.request_id}, was too large to be kept."
        return _failed(call, stored, AnswerNotKept(text))
    call.status, call.bytes_out = answer.status, len(answer.body)
    passed = [(name, value) for name, value in answer.headers.items() if TARGET_NAMES.rendered(name.encode())]
    content_type = next((value for name, value in passed if name.lower() == _TYPE), _UNKNOWN_TYPE)
    return send(
        call.request,
        answer.status,
        answer.body,
        content_type=content_type,
        lines=(*((name, value) for name, value in passed if name.lower() != _TYPE), *_lines(call, stored)),
    )


def _failed(call: RelayCall, stored: StoredCall, error: RelayError) -> web.StreamResponse:
    call.status, call.error = error.status, error.code
    original = ((headers.ORIGINAL_REQUEST_ID, str(stored.request_id)),)
    return send_error(call.request, error, ErrorShape.RELAY, str(call.request_id), lines=original)
