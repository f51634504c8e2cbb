"""Claims on calls that are to be made once, in Redis: `claim.lua` takes one or answers what became of the call,
`claim_end.lua` puts the answer in its place, `claim_renew.lua` keeps it meanwhile.

A claim is a lease. This process renews those of its calls, so they last as long as the calls do; a killed process' end
within LEASE_SECONDS. The id of a claim fences it: who lost it (Redis was away for longer) puts nothing in its place.

Answers hold what callers asked and models said, so they are sealed, and bound to project, key and call. One Redis call
before the call, one after it. Where Redis cannot take a claim the call is refused: made without one it might be made
twice.
"""

import asyncio
import os

import hiredis
import msgspec

from relay_contract.errors import CallInProgress, IdempotencyKeyReused, RateLimited, Unavailable
from relay_contract.redis import keys, scripts
from relay_contract.sealing import Sealer, SealingError
from relay_edge.charges import command
from relay_edge.kept_answer import KeptAnswer, decoded, digest_of_key, encoded
from relay_edge.metrics import Metrics
from relay_edge.redis_link import Reply
from relay_edge.redis_queue import RedisQueue

KEEP_SECONDS = 600.0
MAX_BYTES = 262_144
PROJECT_BYTES = 67_108_864
LEASE_SECONDS = 30.0
RETRY_SECONDS = 1.0
MAX_RENEWED = 64
"""Claims in one command."""

_NO_REDIS = (
    "The relay cannot promise at the moment that a call with an Idempotency-Key is made once: its Redis does not"
    " answer. Try again after the time in Retry-After."
)
_FULL = (
    "As many answers as this project may have are being kept for calls with an Idempotency-Key. Try again after the"
    " time in Retry-After, or without the key."
)
_UNREADABLE = (
    "The answer that was kept for this Idempotency-Key cannot be read: the relay's master key or version has changed"
    " since. Try again later, or send the call with a new key."
)
_OUTCOMES = (
    "kept", "not_kept", "too_large", "given_up", "replayed", "in_progress", "other_call", "full", "no_redis",
    "unreadable",
)  # fmt: skip


class Claims:
    """One for each process."""

    def __init__(
        self,
        queue: RedisQueue,
        sealer: Sealer,
        metrics: Metrics,
        *,
        keep_seconds: float = KEEP_SECONDS,
        max_bytes: int = MAX_BYTES,
        project_bytes: int = PROJECT_BYTES,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`max_bytes`: of one answer's body. `project_bytes`: of all answers that a project has had kept in the last
        `keep_seconds`, or up to twice that."""
        self._queue = queue
        self._sealer = sealer
        self.max_bytes = max_bytes
        self._keep_ms = b"%d" % round(keep_seconds * 1000)
        self._project_bytes = b"%d" % project_bytes
        self._lease_seconds = lease_seconds
        self._lease_ms = b"%d" % round(lease_seconds * 1000)
        self._live: set[Claim] = set()
        self._renewal: asyncio.TimerHandle | None = None
        self.counted = {
            outcome: metrics.registry.counter(
                "relay_edge_idempotent_calls_total",
                "Calls with an Idempotency-Key, by what became of them.",
                outcome=outcome,
            )
            for outcome in _OUTCOMES
        }

    async def claim(self, project_id: int, key: str, call: bytes) -> "Claim | KeptAnswer":
        """A claim, to be ended whatever happens, or the answer of the call that was made. `call`: its digest.

        Raises CallInProgress, IdempotencyKeyReused, RateLimited where the project has too many answers kept, and
        Unavailable where Redis is not in charge.
        """
        claim = Claim(self, project_id, key, call)
        found = await self._asked(claim)
        match found:
            case [b"mine"]:
                self._keep_renewing(claim)
                return claim
            case [b"done", bytes(sealed)]:
                return self._opened(claim, sealed)
            case [b"in_progress"]:
                self.counted["in_progress"].value += 1
                raise CallInProgress(retry_after_seconds=RETRY_SECONDS)
            case [b"other"]:
                self.counted["other_call"].value += 1
                raise IdempotencyKeyReused
            case [b"full", int(wait_ms)]:
                self.counted["full"].value += 1
                raise RateLimited(_FULL, retry_after_seconds=wait_ms / 1000)
        self.counted["no_redis"].value += 1
        raise Unavailable(_NO_REDIS, retry_after_seconds=RETRY_SECONDS)

    async def _asked(self, claim: "Claim") -> Reply:
        """None: Redis is not in charge."""
        queue = self._queue
        if not queue.is_in_charge:
            return None

        def give_back(reply: Reply) -> None:
            if reply == [b"mine"]:  # and nobody waits for it any more
                self.end(claim, None)

        arguments = (claim.call, claim.id, self._lease_ms, self._project_bytes, self._keep_ms)
        waiting = queue.ask(
            command(b"EVALSHA", scripts.CLAIM.sha1, b"2", claim.entry, claim.kept, *arguments), give_back
        )
        try:
            return await waiting.answered
        except asyncio.CancelledError:
            queue.withdraw(waiting)
            if waiting.answered.done() and not waiting.answered.cancelled():  # in the moment in which the caller left
                give_back(waiting.answered.result())
            raise

    def _opened(self, claim: "Claim", sealed: bytes) -> KeptAnswer:
        try:
            answer = decoded(self._sealer.unseal_bytes(sealed, claim.binding))
        except (SealingError, msgspec.DecodeError) as error:
            self.counted["unreadable"].value += 1
            raise Unavailable(_UNREADABLE, retry_after_seconds=RETRY_SECONDS) from error
        self.counted["replayed"].value += 1
        return answer

    def end(self, claim: "Claim", answer: KeptAnswer | None) -> asyncio.Future[Reply] | None:
        """Puts the answer in the claim's place; None gives it up. The reply is 1 where that was done. No future: Redis
        is not in charge, and the claim ends with its lease."""
        self._live.discard(claim)
        if not self._queue.is_in_charge:
            return None
        sealed = b"" if answer is None else self._sealer.seal_bytes(encoded(answer), claim.binding)
        packed = command(
            b"EVALSHA", scripts.CLAIM_END.sha1, b"2", claim.entry, claim.kept, claim.id, sealed, self._keep_ms
        )
        return self._queue.ask(packed, _nobody_waits).answered

    # --- long calls ---

    def _keep_renewing(self, claim: "Claim") -> None:
        self._live.add(claim)
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(self._lease_seconds / 3, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        live = tuple(self._live)
        if not live:
            return
        self._renewal = asyncio.get_running_loop().call_later(self._lease_seconds / 3, self._renew)
        if not self._queue.is_in_charge:
            return
        for start in range(0, len(live), MAX_RENEWED):
            some = live[start : start + MAX_RENEWED]
            entries, ids = [claim.entry for claim in some], [claim.id for claim in some]
            head = (b"EVALSHA", scripts.CLAIM_RENEW.sha1, b"%d" % len(some))
            self._queue.tell(command(*head, *entries, self._lease_ms, *ids), self._renewed)

    def _renewed(self, reply: Reply) -> None:
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            self._queue.reload()


def _nobody_waits(_reply: Reply) -> None:
    """What was to be done was done."""


class Claim:
    """One call's right to be made. End it in a `finally`; once ended it does nothing more."""

    __slots__ = ("_claims", "_has_ended", "binding", "call", "entry", "id", "kept")

    def __init__(self, claims: Claims, project_id: int, key: str, call: bytes) -> None:
        self._claims = claims
        self._has_ended = False
        entry = keys.idempotent(project_id, digest_of_key(key))
        self.id = os.urandom(16)
        self.call = call
        self.entry = entry.encode()
        self.kept = keys.kept(project_id).encode()
        self.binding = f"{entry}:{call.hex()}"

    async def keep(self, answer: KeptAnswer) -> bool:
        """Whether the answer is kept from now on. Once asked for, it is kept even if nobody waits for it."""
        self._has_ended = True
        ending = self._claims.end(self, answer)
        is_kept = ending is not None and await ending == 1
        self._claims.counted["kept" if is_kept else "not_kept"].value += 1
        return is_kept

    def end(self, answer: KeptAnswer | None, *, is_too_large: bool = False) -> None:
        """The same without waiting; None gives the claim up. `is_too_large`: an answer was there."""
        if not self._has_ended:
            self._has_ended = True
            self._claims.end(self, answer)
            outcome = "too_large" if is_too_large else "given_up" if answer is None else "kept"
            self._claims.counted[outcome].value += 1
