"""Sends one attempt over HTTP: the only file here that talks to targets (target_auth.py asks their token endpoints).

One session for the life of a process, with keep-alive. Every connection passes the address guard; redirects, cookies,
proxies of the environment and decompression are off. One deadline covers everything from the look-up of the name to
the last byte of the answer, and an answer is read up to a cap. Costs about 130 us of CPU besides the network.
"""

import asyncio
import io
import logging
import ssl
import time
from datetime import UTC, datetime
from http import HTTPStatus

import aiohttp

from delivery import attempt, faults, outfit
from delivery.attempt import (
    MAX_EXCERPT_BYTES,
    MAX_RESPONSE_BYTES,
    Answer,
    Claim,
    Destination,
    Fault,
    Manner,
    Needs,
    Whole,
)
from delivery.target_auth import target_tokens
from relay_contract import headers, logs, netguard
from relay_contract.quoted import Quotes, is_text, secrets_of

logger = logging.getLogger(__name__)

KEEPALIVE_SECONDS = 15
DNS_CACHE_SECONDS = 10
MAX_IN_ONE_WRITE_BYTES = 1_048_576
_WRITTEN_BY_US = ("Accept-Encoding", "Content-Type")  # aiohttp adds these itself where a request has none


class Sender:
    """Call from the event loop it was opened on, and close it there."""

    def __init__(self, egress_allow: tuple[netguard.Network, ...]) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                socket_factory=netguard.guarded_socket_factory(egress_allow),
                limit=0,  # the drainer bounds what is in flight
                keepalive_timeout=KEEPALIVE_SECONDS,
                ttl_dns_cache=DNS_CACHE_SECONDS,
            ),
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # ours covers more: see send
            skip_auto_headers=_WRITTEN_BY_US,
        )
        self._tokens = target_tokens(self._session)

    async def close(self) -> None:
        """Close idle connections. Sends in flight must have ended."""
        await self._tokens.close()
        await self._session.close()

    async def send(self, claim: Claim) -> Answer:
        """Put the request to its target once. Never raises but for cancellation: what goes wrong is in the answer."""
        started_at, clock = datetime.now(UTC), time.perf_counter()
        destination, body = claim.destination, claim.body
        if isinstance(destination, Fault):
            return Answer(started_at, 0, None, destination)
        if body is None:
            return Answer(started_at, 0, None, Fault.PAYLOAD_EXPIRED)
        reading = _Reading(claim.manner, destination.secrets)
        fault: Fault | None = None
        try:
            if destination.needs is None:
                async with asyncio.timeout(destination.timeout_seconds):
                    sent = attempt.request_headers(claim, destination, body, int(started_at.timestamp()))
                    await self._post(destination, sent, body, reading)
            else:
                fault = await self._send_with(destination.needs, claim, destination, body, reading)
        except outfit.NotSendable as why:
            fault, reading.body, reading.has_more = why.fault, bytearray(why.text, "utf-8"), False
        except Exception as error:  # whatever a target provokes ends this attempt, and no other
            fault = faults.fault_of(error)
            if fault is Fault.INTERNAL_ERROR:
                logger.exception("attempt_failed_inside", extra=logs.log_fields(delivery_id=claim.delivery_id))
        shown = reading.shown()
        return Answer(
            started_at,
            duration_ms=int((time.perf_counter() - clock) * 1000),
            status=reading.status,
            fault=fault,
            retry_after=reading.retry_after,
            excerpt=shown[:MAX_EXCERPT_BYTES],
            is_cut=reading.has_more or len(reading.body) > MAX_EXCERPT_BYTES,
            whole=reading.whole(),
            kept=shown if claim.is_compared else b"",
            is_kept_cut=reading.has_more,
        )

    async def _send_with(
        self, needs: Needs, claim: Claim, destination: Destination, body: bytes, reading: "_Reading"
    ) -> Fault | None:
        """One attempt with what its target needs, under one deadline. Raises NotSendable, and what `_post` does.

        A caller who waits has no next attempt, so a token that is refused is replaced in this one, once.
        """
        deadline = asyncio.get_running_loop().time() + destination.timeout_seconds
        key = (claim.target_id, claim.target_version)
        has_another = claim.manner.keeps_answer and self._tokens.can_give_up(key)
        fault = await self._send_once(needs, claim, destination, body, reading, until=deadline)
        if fault is Fault.TOKEN_REFUSED and has_another:
            reading.begin_again()
            fault = await self._send_once(needs, claim, destination, body, reading, until=deadline)
        return fault

    async def _send_once(
        self, needs: Needs, claim: Claim, destination: Destination, body: bytes, reading: "_Reading", *, until: float
    ) -> Fault | None:
        wears = await outfit.make(claim, needs, body, self._tokens, until)
        reading.secrets += secrets_of({"authorization": wears.authorization})
        if wears.shaped is not None and wears.shaped.body is not None:
            body = wears.shaped.body
        async with asyncio.timeout_at(until):
            sent = attempt.request_headers(
                claim, destination, body, int(time.time()), shaped=wears.shaped, authorization=wears.authorization
            )
            await self._post(destination, sent, body, reading, needs.tls)
        if wears.token is not None and reading.status == HTTPStatus.UNAUTHORIZED:
            self._tokens.give_up((claim.target_id, claim.target_version), wears.token)
            return Fault.TOKEN_REFUSED
        return None

    async def _post(
        self,
        destination: Destination,
        sent: dict[str, str],
        body: bytes,
        reading: "_Reading",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        data = body if len(body) <= MAX_IN_ONE_WRITE_BYTES else io.BytesIO(body)
        manner = reading.manner
        async with self._session.request(
            manner.method,
            manner.url(destination.url),
            data=data,
            headers=sent,
            allow_redirects=False,
            ssl=tls or True,
        ) as response:
            if response.status < HTTPStatus.OK:  # 101, which nobody asked for, and 000 to 099
                response.close()
                raise aiohttp.ClientResponseError(response.request_info, ())
            reading.status = response.status
            reading.has_more = True
            reading.headers = response.raw_headers
            reading.retry_after = response.headers.get(headers.RETRY_AFTER)
            while chunk := await response.content.readany():
                reading.body += chunk
                if len(reading.body) > manner.max_answer_bytes:
                    response.close()  # not released: the rest of the answer would have to be read first
                    return
            reading.has_more = False


class _Reading:
    """What has been read of an answer so far; it outlives a deadline that strikes in the middle."""

    __slots__ = ("body", "has_more", "headers", "manner", "retry_after", "secrets", "status")

    def __init__(self, manner: Manner, secrets: tuple[bytes, ...]) -> None:
        self.manner = manner
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        self.status: int | None = None
        self.retry_after: str | None = None
        self.secrets = secrets  # that the target was shown
        self.body = bytearray()
        self.has_more = False

    def begin_again(self) -> None:
        """Another answer comes in place of this one."""
        self.headers, self.status, self.retry_after, self.has_more = (), None, None, False
        self.body.clear()

    def shown(self) -> bytes:
        """At most MAX_RESPONSE_BYTES of the body, as it is kept: some targets quote what they were called with."""
        body = bytes(self.body[: MAX_RESPONSE_BYTES + sum(map(len, self.secrets))])
        for secret in self.secrets:
            body = body.replace(secret, logs.REDACTED.encode())
        return body[:MAX_RESPONSE_BYTES]

    def whole(self) -> Whole | None:
        """All of it, where somebody wants that, without what it quotes of the target's credentials."""
        if not self.manner.keeps_answer or self.status is None or self.has_more:
            return None
        lines, body = self.headers, bytes(self.body)
        if quotes := Quotes(self.secrets):
            body = quotes.covered(body) if is_text(lines) else body
            lines = tuple(quotes.covered_lines(lines))
        return Whole(lines, body)
