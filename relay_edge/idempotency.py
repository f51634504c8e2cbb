"""Calls to models that carry an Idempotency-Key: each is made once, and its answer given to whoever sends it again.

Between key and limits (`inference.py`). A replay is counted by no limit, costs nothing and reaches no host. What ended
without an answer to keep (a failure, a limit, a caller who left) gives its claim up, so that the next call is made. A
stream is not kept: the key is ignored, and the answer says so.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from relay_contract import headers
from relay_edge import server_timing
from relay_edge.call_record import LEFT, CallRecord
from relay_edge.claims import Claims
from relay_edge.held_stream import hold_seconds_of
from relay_edge.idempotency_key import read_idempotency_key
from relay_edge.kept_answer import KeptAnswer, digest_of_call
from relay_edge.kept_stream import KeptStream, UnkeptStream
from relay_edge.protocols import Operation
from relay_edge.protocols.form import FormRequest
from relay_edge.protocols.model_name import ModelRequest
from relay_edge.reply import send
from relay_edge.streaming import CallerStream

LARGE_BYTES = 1_048_576
"""From here on a body is digested in a thread."""
_TYPE = "content-type"
_UNKNOWN_TYPE = "application/octet-stream"

Run = Callable[[CallerStream], Awaitable[web.StreamResponse]]


class Idempotency:
    """One for each process."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    async def serve(
        self,
        request: web.BaseRequest,
        operation: Operation,
        record: CallRecord,
        wanted: ModelRequest | FormRequest,
        run: Run,
    ) -> web.StreamResponse:
        """Makes the call with `run`, or answers what it came to when it was made. Raises as `Claims.claim` and `run`
        do, and BadHeader."""
        key = read_idempotency_key(request.headers.getall(headers.IDEMPOTENCY_KEY))
        if wanted.is_stream:
            hold_seconds = hold_seconds_of(record)
            return await run(UnkeptStream(request, operation.surface, record.request_id, record.capture, hold_seconds))
        assert record.project_id is not None
        claim = await self._claims.claim(record.project_id, _own(key, record), await _digest(operation, wanted))
        if isinstance(claim, KeptAnswer):
            return _replay(request, record, claim)
        stream = KeptStream(
            request, operation.surface, record.request_id, record.capture, max_bytes=self._claims.max_bytes
        )
        try:
            await run(stream)
            answer = stream.answer()
            return stream.release(is_kept=answer is not None and await claim.keep(answer))
        except asyncio.CancelledError:
            record.status = LEFT  # also where the answer was whole: it is kept, and the caller has nothing of it
            raise
        finally:
            record.bytes_out = stream.bytes_sent
            claim.end(stream.answer(), is_too_large=stream.is_too_large)


def _own(key: str, record: CallRecord) -> str:
    """The key, where it is an application's user's: one user's is not another's, nor one of the project's own calls. No
    key that a header can hold has a line break."""
    return key if record.application_id is None else f"{record.application_id}\n{record.user_id}\n{key}"


async def _digest(operation: Operation, wanted: ModelRequest | FormRequest) -> bytes:
    def digest() -> bytes:
        return digest_of_call(operation.name, wanted.content if isinstance(wanted, FormRequest) else wanted.body)

    return digest() if len(wanted.body) < LARGE_BYTES else await asyncio.to_thread(digest)


def _replay(request: web.BaseRequest, record: CallRecord, answer: KeptAnswer) -> web.StreamResponse:
    record.is_free = True
    record.status, record.bytes_out = answer.status, len(answer.body)
    if record.capture is not None:
        record.capture.answered(answer.body)
    content_type = next((value for name, value in answer.lines if name == _TYPE), _UNKNOWN_TYPE)
    return send(
        request,
        answer.status,
        answer.body,
        content_type=content_type,
        lines=(
            *((name, value) for name, value in answer.lines if name != _TYPE),
            (headers.IDEMPOTENT_REPLAYED, "true"),
            (headers.ORIGINAL_REQUEST_ID, answer.request_id),
            (headers.CHARGE, "0"),
            (headers.REQUEST_ID, record.request_id),
            (headers.SERVER_TIMING, server_timing.value(record, time.monotonic())),
        ),
    )
