"""Circuit breakers of host keys and bindings: what a process tells Redis about how its calls went (`report.lua`), and
what it sees of their changes. `admit.lua` reads them at each admission; `breaker_rules.py` has the policy.

Failures are told at once, with the next write; calls that went well are counted and told once a second, a probe's at
once. While Redis is away this process keeps breakers of its own (`local_breakers.py`).
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import hiredis

from relay_contract.ids import uuid7
from relay_contract.logs import log_fields
from relay_contract.redis import breakers, keys, scripts
from relay_contract.traffic import BreakerEventRow, BreakerKind, BreakerState, FailureClass
from relay_edge.breaker_rules import FAILURE_RULES, SLOW_START_MS
from relay_edge.charges import command, packed
from relay_edge.local_breakers import LocalBreakers
from relay_edge.metrics import Counter, Metrics, Registry
from relay_edge.offers import NO_BINDING, Guard, KeyOffer
from relay_edge.redis_link import RedisLost, Reply
from relay_edge.redis_queue import RedisQueue
from relay_edge.reservation import Hold, Reservation

logger = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
MAX_REPORTS = 64
"""Breakers in one command."""

PROBE, RECOVERED = "probe", "recovered"

NO_PROBE = packed([b""])


class Breakers:
    """One for each process."""

    def __init__(
        self, queue: RedisQueue, metrics: Metrics, on_event: Callable[[BreakerEventRow], None] | None = None
    ) -> None:
        """`on_event` is called for each change that this process sees; it must not raise nor wait."""
        self._queue = queue
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._local = LocalBreakers()
        self._well: dict[KeyOffer, int] = {}
        self._changes = _change_counters(metrics.registry)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to report."""
        self._timer = self._loop.call_later(REPORT_SECONDS, self._report_all)

    def close(self) -> None:
        """Queues what was not told yet."""
        if self._timer is not None:
            self._timer.cancel()
        self._flush()

    # --- how calls went ---

    def succeeded(self, offer: KeyOffer, reservation: Reservation) -> None:
        """The host answered as it should. Never waits, never raises."""
        host = reservation.host
        if host is None or not host.probes:
            self._well[offer] = self._well.get(offer, 0) + 1
            return
        probed = [guard for guard in offer.guards if guard.field in host.probes]
        host.probes = ()
        if not host.is_local and self._queue.is_in_charge:
            self._tell([_Report(guard, host.id, 1) for guard in probed])
            return
        for guard in probed:
            if self._local.succeeded(guard.field, True, self._loop.time()):
                self._changed(guard, BreakerState.HALF_OPEN, BreakerState.CLOSED, RECOVERED)

    def failed(
        self, offer: KeyOffer, failure: FailureClass, retry_after_ms: int | None, reservation: Reservation
    ) -> None:
        """A try failed. `retry_after_ms`: as the host named it; None when it did not. What speaks against the binding
        of a call that has none speaks against nobody. Never waits, never raises."""
        rule = FAILURE_RULES.get(failure)
        if rule is None:
            return
        guard = offer.guards[rule.guard]
        if guard.row_id == NO_BINDING:
            return
        probe_id = _take_probe(guard, reservation.host)
        named_ms = rule.named_ms(retry_after_ms)
        if not self._queue.is_in_charge:
            open_ms = self._local.failed(guard.field, rule, named_ms, probe_id is not None, self._loop.time())
            if open_ms:
                before = BreakerState.CLOSED if probe_id is None else BreakerState.HALF_OPEN
                self._changed(guard, before, BreakerState.OPEN, failure, open_ms)
            return
        well = self._well.pop(offer, 0)
        reports = [_Report(guard, probe_id or NO_PROBE, well, failure, named_ms)]
        if well:
            reports += [_Report(other, NO_PROBE, well) for other in offer.guards if other is not guard]
        self._tell(reports)

    # --- what operators ask ---

    async def not_closed(self, fields: Sequence[str]) -> dict[str, breakers.Entry] | None:
        """Those of these breakers that are not closed, by their fields; None while Redis does not say."""
        if not fields:
            return {}
        if not self._queue.is_in_charge:
            return None
        hmget = command(b"HMGET", keys.BREAKERS.encode(), *(field.encode() for field in fields))
        reply = await self._queue.ask(hmget, _nobody_waits).answered
        if not isinstance(reply, list):
            return None
        found = zip(fields, reply, strict=True)
        return {field: breakers.read(field, stored) for field, stored in found if stored is not None}

    # --- what admission sees ---

    def changed_by_admission(self, offer: KeyOffer, changes: int) -> tuple[str, ...]:
        """The breakers that the call probes, of admit.lua's `changes`."""
        probes = []
        for bit, guard in enumerate(offer.guards):
            if changes & 1 << bit:
                probes.append(guard.field)
                self._changed(guard, BreakerState.OPEN, BreakerState.HALF_OPEN, PROBE)
            if changes & 8 << bit:
                self._changed(guard, BreakerState.SLOW_START, BreakerState.CLOSED, RECOVERED)
        return tuple(probes)

    def wait_locally(self, offer: KeyOffer, now: float) -> float:
        """For how many seconds the offer cannot be had, as far as this process knows; 0 when it can."""
        return max(self._local.wait(guard.field, now) for guard in offer.guards)

    def pass_locally(self, offer: KeyOffer, now: float) -> tuple[str, ...]:
        """A call goes to the offer: the breakers that it probes."""
        probed = [guard for guard in offer.guards if self._local.pass_through(guard.field, now)]
        for guard in probed:
            self._changed(guard, BreakerState.OPEN, BreakerState.HALF_OPEN, PROBE)
        return tuple(guard.field for guard in probed)

    def release_locally(self, probes: tuple[str, ...]) -> None:
        """The call ended without a word about its probes."""
        for field in probes:
            self._local.release(field)

    # --- telling Redis ---

    def _report_all(self) -> None:
        self._timer = self._loop.call_later(REPORT_SECONDS, self._report_all)
        self._flush()

    def _flush(self) -> None:
        well, self._well = self._well, {}
        gathered: dict[Guard, int] = {}
        for offer, count in well.items():
            for guard in offer.guards:
                gathered[guard] = gathered.get(guard, 0) + count
        if not self._queue.is_in_charge:
            for guard in gathered:
                self._local.succeeded(guard.field, False, self._loop.time())
            return
        self._local.clear()
        reports = [_Report(guard, NO_PROBE, count) for guard, count in gathered.items()]
        for start in range(0, len(reports), MAX_REPORTS):
            self._tell(reports[start : start + MAX_REPORTS])

    def _tell(self, reports: list["_Report"]) -> None:
        command = _command(reports)
        was_reloaded = False

        def replied(reply: Reply) -> None:
            nonlocal was_reloaded
            if isinstance(reply, list):
                for number, before, after, reason, open_ms in reply:
                    guard = reports[number - 1].guard
                    self._changed(guard, before.decode(), after.decode(), reason.decode(), open_ms)
            elif isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT") and not was_reloaded:
                was_reloaded = True
                self._queue.reload()
                self._queue.tell(command, replied)
            elif isinstance(reply, RedisLost):
                self._queue.dropped.value += len(reports)
            else:
                logger.error("breaker_report_refused", extra=log_fields(problem=str(reply)[:200]))

        self._queue.tell(command, replied)

    def _changed(self, guard: Guard, before: str, after: str, reason: str, open_ms: int = 0) -> None:
        counter = self._changes.get((after, reason))
        if counter is not None:
            counter.value += 1
        is_key = guard.kind is BreakerKind.HOST_KEY
        row = BreakerEventRow(
            id=uuid7(),
            at=datetime.now(UTC),
            kind=guard.kind,
            host=guard.host,
            host_key_id=guard.row_id if is_key else None,
            binding_id=guard.binding_id if is_key else guard.row_id,
            from_state=str(before),
            to_state=str(after),
            reason=str(reason),
            open_ms=open_ms,
        )
        logger.warning(
            "breaker_changed",
            extra=log_fields(
                kind=str(guard.kind), host=guard.host, row_id=guard.row_id, from_state=row.from_state,
                to_state=row.to_state, reason=row.reason, open_ms=open_ms,
            ),
        )  # fmt: skip
        if self._on_event is not None:
            self._on_event(row)


@dataclass(frozen=True, slots=True)
class _Report:
    """What report.lua is told of one breaker."""

    guard: Guard
    probe_id: bytes  # packed
    well: int
    failure: FailureClass | None = None
    named_ms: int = 0

    def arguments(self) -> bytes:
        """Eleven, packed."""
        guard = self.guard
        who = packed([guard.field.encode(), guard.host.encode(), b"%d" % guard.row_id])
        rule = None if self.failure is None else FAILURE_RULES[self.failure]
        is_threshold = guard.kind is BreakerKind.BINDING if rule is None else rule.is_threshold
        times = (0, 0, 0, 0) if rule is None else (rule.first_ms, rule.longest_ms, self.named_ms, rule.pause_ms)
        how = [
            (self.failure or "").encode(),
            b"threshold" if is_threshold else b"at_once",
            *(b"%d" % ms for ms in times),
        ]
        return who + self.probe_id + packed([b"%d" % self.well, *how])


def _command(reports: list[_Report]) -> bytes:
    names = [keys.BREAKERS.encode(), *(keys.health(report.guard.field).encode() for report in reports)]
    opening = [b"EVALSHA", scripts.REPORT.sha1, b"%d" % len(names), *names, b"%d" % SLOW_START_MS]
    arguments = b"".join([report.arguments() for report in reports])
    return b"*%d\r\n%b%b" % (len(opening) + 11 * len(reports), packed(opening), arguments)


def _nobody_waits(_reply: Reply) -> None:
    """For an answer that came too late, to a question that changes nothing."""


def _take_probe(guard: Guard, host: Hold | None) -> bytes | None:
    """The id under which the call probes this breaker, which is now reported on; None where it does not."""
    if host is None or guard.field not in host.probes:
        return None
    host.probes = tuple(field for field in host.probes if field != guard.field)
    return host.id


def _change_counters(registry: Registry) -> dict[tuple[str, str], Counter]:
    """Every series there can be."""
    possible = [
        *((BreakerState.OPEN, failure) for failure in FAILURE_RULES),
        (BreakerState.HALF_OPEN, PROBE),
        (BreakerState.SLOW_START, RECOVERED),
        (BreakerState.CLOSED, RECOVERED),
    ]
    return {
        (state, reason): registry.counter(
            "relay_edge_breaker_changes_total", "Breakers that changed.", to_state=state, reason=reason
        )
        for state, reason in possible
    }
