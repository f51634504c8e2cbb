"""`POST /api/resolve`: what a call would meet, without making it. Nothing is reserved or sent.

A caller asks with its own relay key; the control plane with a token that speaks for one (`internal_token.py`), which is
accepted nowhere else. The body is `{"model": ..., "surface": ...}`, or a whole call with `surface` added: then its
conversation is looked at too. `surface` is any operation's name, as the rows of calls have it.

An answer costs what many calls cost, so each key has ASKING here, in each process, and no Redis call counts it. The
key's own limits do not: a key without a limit of requests would have none, and asking would change what it asks about.
Who speaks for the control plane was let in there, and takes nothing of the key's.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import msgspec
from aiohttp import web

from relay_contract.errors import (
    BadField,
    BodyTimeout,
    BodyTooLarge,
    Forbidden,
    InternalFault,
    InvalidKey,
    MethodNotAllowed,
    RateLimited,
    RelayError,
    Unauthenticated,
    Unavailable,
)
from relay_contract.internal_token import PREFIX, InternalTokenError, InternalTokens
from relay_contract.logs import log_fields
from relay_contract.nouns import Algorithm, Meter, RateLimit, RateLimitId, RelayKeyId, Rule, Scope
from relay_edge.auth import Authenticator, bearer_token
from relay_edge.body import BODY_SECONDS, read_body
from relay_edge.breaker_words import BreakerOf
from relay_edge.caller import Caller
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.charges import Charge, charge_set
from relay_edge.error_shapes import ErrorShape
from relay_edge.explanation import Explanation, Question, candidates_of, explain, refusal
from relay_edge.local_share import LocalShare
from relay_edge.metrics import Metrics
from relay_edge.protocols import CONVERSATIONS, OTHERS, Operation
from relay_edge.protocols.conversation_key import conversation_key
from relay_edge.protocols.model_name import read_model_request
from relay_edge.reply import request_id_of, send, send_error
from relay_edge.reservation import NOTHING
from relay_edge.routing import Candidate
from relay_edge.selection import Load

logger = logging.getLogger(__name__)

PATH = "/api/resolve"

ASKING = RateLimit(RateLimitId(0), "resolve", (Rule(Meter.REQUESTS, 60, 60, Algorithm.GCRA, burst=20),))
"""Of each relay key, in each process. An explanation over a large catalog takes some milliseconds."""

OPERATIONS = {operation.name: operation for operation in reversed((*CONVERSATIONS, *OTHERS))}
"""What callers may ask for, by the name in records; addresses of one name differ in nothing that routing looks at."""


class _Asked(msgspec.Struct):
    surface: str = "chat_completions"


_asked = msgspec.json.Decoder(_Asked)


class ExplainCall:
    """One handler. Errors are in the relay's own shape."""

    def __init__(
        self,
        catalog: Catalog,
        authenticator: Authenticator,
        internal: InternalTokens,
        load: Load,
        metrics: Metrics,
        *,
        max_body_bytes: int,
        body_seconds: float = BODY_SECONDS,
        breakers_of: Callable[[Sequence[Candidate]], Awaitable[BreakerOf]],
    ) -> None:
        self._catalog = catalog
        self._authenticator = authenticator
        self._internal = internal
        self._load = load
        self._metrics = metrics.surfaces["other"]
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds
        self._breakers_of = breakers_of
        self._asked = LocalShare(processes=1)
        self.ROUTES = {PATH: self.handle}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """200 with an explanation, also of a call that would be refused."""
        started = time.monotonic()
        request_id = request_id_of(request)
        status = 200
        try:
            answer = msgspec.json.encode(await self._explanation(request))
            return send(request, status, answer, lines=(("x-request-id", request_id), ("cache-control", "no-store")))
        except RelayError as error:
            status = error.status
            unread = isinstance(error, BodyTooLarge | BodyTimeout)
            return send_error(request, error, ErrorShape.RELAY, request_id, allow="POST", close=unread)
        except Exception:
            logger.exception("explanation_failed", extra=log_fields(request_id=request_id))
            status = InternalFault.status
            return send_error(request, InternalFault(), ErrorShape.RELAY, request_id)
        finally:
            self._metrics.done(status, time.monotonic() - started)

    async def _explanation(self, request: web.BaseRequest) -> Explanation:
        if request.method != "POST":
            raise MethodNotAllowed
        snapshot = self._catalog.snapshot
        if snapshot is None:
            raise Unavailable(retry_after_seconds=1)
        who = self._who(snapshot, request)
        body = await read_body(request, self._max_body_bytes, self._body_seconds)
        wanted, operation = read_model_request(body), _operation(body)
        if isinstance(who, RelayError):
            return refusal(wanted.model, operation.name, who)
        conversation = conversation_key(body) if operation.hosts is None else None
        is_cost_limited = who.counts_cost
        question = Question(
            snapshot, who.policy, wanted, operation, self._load, conversation, is_cost_limited=is_cost_limited
        )
        breaker_of = await self._breakers_of(candidates_of(question))
        return explain(replace(question, breaker_of=breaker_of))

    def _who(self, snapshot: Snapshot, request: web.BaseRequest) -> Caller | RelayError:
        """Whose call is explained. For the control plane a key that would be refused is an answer and no error."""
        token, now = bearer_token(request.headers), time.time()
        if not token.startswith(PREFIX):
            caller = self._authenticator.caller_of(snapshot, request, Scope.INFERENCE, now)
            self._count(caller)
            return caller
        try:
            relay_key_id = RelayKeyId(self._internal.read(token, now))
        except InternalTokenError as error:
            raise InvalidKey(f"The control plane's token is not accepted: {error}.") from error
        relay_key = snapshot.relay_key_by_id(relay_key_id)
        if relay_key is None:
            return InvalidKey("The edge does not know this relay key. It may not have read the catalog's change yet.")
        try:
            return self._authenticator.recognise(snapshot, relay_key.token_hash, Scope.INFERENCE, now)
        except (Unauthenticated, Forbidden) as error:
            return error

    def _count(self, caller: Caller) -> None:
        """Raises RateLimited."""
        rules = charge_set((Charge(*caller.owner, ASKING),)).set
        refused = self._asked.admit(rules, NOTHING, b"", time.monotonic())
        if refused is not None:
            number, wait_ms = refused
            raise RateLimited(rules.rules[number - 1].refusal_text(1), retry_after_seconds=wait_ms / 1000)


def _operation(body: bytes) -> Operation:
    try:
        surface = _asked.decode(body).surface
    except msgspec.ValidationError as error:
        raise BadField("surface", "Write a text.") from error
    operation = OPERATIONS.get(surface)
    if operation is None:
        raise BadField("surface", f"Write one of {', '.join(sorted(OPERATIONS))}.")
    return operation
