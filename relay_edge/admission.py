"""Whether a call may go ahead, and to which candidate: one Redis call decides everything (`admit.lua`), one settlement
gives back what was not used (`settle.lua`), exactly once.

Admissions and settlements of a loop turn leave in one write (`redis_queue.py`). A call without limits and without
offers costs no Redis call.

Where a call is paid beforehand or falls under a budget, the same Redis call asks its purses (`purses.py`,
`purse_holds.py`), and the settlement says what was charged.

When Redis is away, late by 45 ms, or refuses our scripts, calls are decided by this process at once: rates and places
by its share (`local_share.py`), breakers by what it has seen itself (`local_breakers.py`). Money is not shared out: a
call that a cost rule counts or a purse pays is refused 503 until Redis is back, a host key with a cost rule is passed
over.

Whoever was admitted settles in a `finally`; a heartbeat renews the leases of long calls, and what a killed process held
runs out by itself.
"""

import asyncio
import os
from collections.abc import Callable, Sequence

import hiredis

from relay_contract.errors import RateLimited, RelayError, Unavailable
from relay_contract.redis import keys, scripts
from relay_contract.traffic import BreakerEventRow
from relay_edge.breakers import Breakers
from relay_edge.charges import NO_RULES, Charge, ChargeSet, RuleSet, packed, packed_number
from relay_edge.deadlines import DeadlineWheel
from relay_edge.limit_headers import tightest
from relay_edge.local_share import LocalShare
from relay_edge.metrics import Metrics
from relay_edge.offers import MAX_OFFERS, OFFER_ARGUMENTS, KeyOffer
from relay_edge.purse_holds import PurseHolds, closed
from relay_edge.purses import PurseHold, PursePart, PurseSet
from relay_edge.redis_link import Reply
from relay_edge.redis_queue import RedisQueue
from relay_edge.reservation import LIMITS, MOST_NANOUSD, MOST_TOKENS, NOTHING, Hold, Need, Reservation
from relay_edge.settlements import NO_PURSES

__all__ = ["NOTHING", "Admission", "Need", "Reservation"]

RENEW_CHECK_SECONDS = 1.0
MAX_RENEWED = 64
"""Leases in one command."""

_MONEY_TEXT = (
    "Cost limits cannot be counted at the moment, and this call falls under one. Try again after the time in"
    " Retry-After."
)
_ADMITTED, _LIMITED = 0, 1


class Admission:
    """One for each process. `start` before the first `admit`, `close` after the last `settle`."""

    def __init__(
        self,
        redis_url: str,
        wheel: DeadlineWheel,
        metrics: Metrics,
        *,
        processes: int = 1,
        on_event: Callable[[BreakerEventRow], None] | None = None,
        top_up_url: str = "",
        unwritten_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`processes`: how many edge processes share the limits while Redis is away. `on_event`: see Breakers.
        `top_up_url`, `unwritten_seconds`: see PurseHolds."""
        self._loop = asyncio.get_running_loop()
        self.queue = RedisQueue(redis_url, wheel, metrics)
        self.breakers = Breakers(self.queue, metrics, on_event)
        self._purses = PurseHolds(self.queue, metrics, top_up_url=top_up_url, unwritten_seconds=unwritten_seconds)
        self._local = LocalShare(processes)
        self._fallbacks = metrics.admission_fallbacks
        registry = metrics.registry
        self._refused = registry.counter("relay_edge_rate_limited_total", "Calls refused by a rate limit.")
        registry.gauge(
            "relay_edge_leases",
            "Calls that hold places in flight, for a caller or a host key.",
            "sum",
            lambda: self.in_flight,
        )
        self._renewal: asyncio.TimerHandle | None = None
        self._live: set[Hold] = set()
        self._id_start = b"$32\r\n" + os.urandom(8).hex().encode()
        self._id_number = 0
        self._opening = packed([b"EVALSHA", scripts.ADMIT.sha1])
        self._breakers_key = packed([keys.BREAKERS.encode()])

    async def start(self) -> None:
        """Connects. A Redis that is away is no error: calls are admitted locally until it is back."""
        await self.queue.start()
        self.breakers.start()
        self._purses.start()
        self._renewal = self._loop.call_later(RENEW_CHECK_SECONDS, self._renew)

    async def close(self) -> None:
        """Sends what is still to be settled, then closes."""
        if self._renewal is not None:
            self._renewal.cancel()
        self.breakers.close()
        self._purses.close()
        await self.queue.close()

    @property
    def problem(self) -> str | None:
        """Why Redis is not in charge; None while it is."""
        return self.queue.problem

    @property
    def in_flight(self) -> int:
        """Leases that callers and host keys hold now, counted once for each call and side."""
        return len(self._live)

    async def admit(
        self,
        charges: ChargeSet,
        extra: tuple[Charge, ...] = (),
        *,
        need: Need = NOTHING,
        offers: Sequence[KeyOffer] = (),
        purses: PurseSet | None = None,
    ) -> Reservation:
        """Counts a call and chooses the first of the offers (MAX_OFFERS are looked at) that can take it. Settle the
        reservation in a `finally`.

        Raises RateLimited with the time to wait, BudgetExceeded, InsufficientCredits, and Unavailable where money is at
        stake and Redis away.
        """
        rules = charges.plus(extra).set
        asked = self._purses.asked(purses, need.price) if purses is not None and purses.is_asked else None
        if not rules.rules and not offers and asked is None:
            return Reservation(need, Hold(b"", NO_RULES, True, 0, 0.0), None, None, False, None, [])
        return await self._decide(rules, need, offers[:MAX_OFFERS], asked)

    async def pick(self, reservation: Reservation, offers: Sequence[KeyOffer]) -> int | None:
        """A further try of the same call: gives back what the last host key held, its request excepted, and reserves
        the first of these offers that can take it. Its index, None when there is none."""
        if reservation.host is not None:
            self._settle(reservation.host, reservation.need.tokens, reservation.need.cost_nanousd)
        reservation.host = reservation.chosen = None
        reservation.is_probe = False
        if not offers:
            return None
        found = await self._decide(NO_RULES, reservation.need, offers[:MAX_OFFERS])
        reservation.host, reservation.chosen, reservation.is_probe = found.host, found.chosen, found.is_probe
        reservation.retry_after_seconds = found.retry_after_seconds
        return reservation.chosen

    def settle(self, reservation: Reservation, tokens: int = 0, cost_nanousd: int = 0, charge: int = 0) -> None:
        """Ends the call with what it used and was charged; the rest of what was reserved is given back, with the next
        write. Never waits, never raises; twice is once."""
        if reservation.is_settled:
            return
        reservation.is_settled = True
        tokens = reservation.need.tokens - tokens
        cost_nanousd = reservation.need.cost_nanousd - cost_nanousd
        held = reservation.held
        if held is None:
            self._settle(reservation.caller, tokens, cost_nanousd)
        else:
            self._purses.settled(held)
            self._settle(reservation.caller, tokens, cost_nanousd, held.settled(charge))
        if reservation.host is not None:
            self._settle(reservation.host, tokens, cost_nanousd)

    # --- deciding ---

    async def _decide(
        self, rules: RuleSet, need: Need, offers: Sequence[KeyOffer], asked: PurseHold | None = None
    ) -> Reservation:
        self._id_number += 1
        reservation_id = b"%b%016x\r\n" % (self._id_start, self._id_number)
        if not self.queue.is_in_charge:
            return self._decide_locally(rules, need, offers, reservation_id, asked)

        def give_back(reply: Reply) -> None:
            if isinstance(reply, list) and reply[0] == _ADMITTED:
                self.settle(self._reserved(reply, rules, need, offers, reservation_id, asked))

        waiting = self.queue.ask(self._command(rules, need, offers, reservation_id, asked), give_back)
        try:
            reply = await waiting.answered
        except asyncio.CancelledError:
            self.queue.withdraw(waiting)
            if waiting.answered.done() and not waiting.answered.cancelled():  # in the moment in which the caller left
                give_back(waiting.answered.result())
            raise
        if isinstance(reply, list):
            if self.queue.problem is not None:
                self.queue.problem = None
            if reply[0] == _ADMITTED:
                return self._reserved(reply, rules, need, offers, reservation_id, asked)
            raise self._refusal(reply, rules, need, asked)
        if isinstance(reply, hiredis.ReplyError):
            self.queue.problem = "redis_answers_with_errors"
        return self._decide_locally(rules, need, offers, reservation_id, asked)

    def _command(
        self,
        rules: RuleSet,
        need: Need,
        offers: Sequence[KeyOffer],
        reservation_id: bytes,
        asked: PurseHold | None,
    ) -> bytes:
        if len(offers) == 1:  # the usual call
            [offer] = offers
            offered, offered_keys, offered_arguments = len(offer.limits.rules), offer.limits.packed_keys, offer.packed
        else:
            offered = sum([len(offer.limits.rules) for offer in offers])
            offered_keys = b"".join([offer.limits.packed_keys for offer in offers])
            offered_arguments = b"".join([offer.packed for offer in offers])
        tokens, cost = need.tokens, need.cost_nanousd
        if not (0 <= tokens <= MOST_TOKENS and 0 <= cost <= MOST_NANOUSD):
            tokens, cost = max(0, min(tokens, MOST_TOKENS)), max(0, min(cost, MOST_NANOUSD))
        purse_keys = asked_count = 0
        if asked is not None:  # behind the rest, which stays as it is for everybody else
            purses = asked.purses
            offered_keys += purses.packed_keys
            offered_arguments += asked.asked()
            purse_keys, asked_count = purses.key_count, purses.argument_count
        count = len(rules.rules)
        # Redis takes no leading zeros in the number of keys; numbers that only our script reads have a fixed width.
        return b"*%d\r\n%b%b%b%b%b%b$16\r\n%016d\r\n$16\r\n%016d\r\n$3\r\n%03d\r\n%b$1\r\n%d\r\n%b" % (
            9 + 5 * (count + offered) + OFFER_ARGUMENTS * len(offers) + purse_keys + asked_count,
            self._opening,
            packed_number(1 + count + offered + purse_keys),
            self._breakers_key,
            rules.packed_keys,
            offered_keys,
            reservation_id,
            tokens,
            cost,
            count,
            rules.packed_rules,
            len(offers),
            offered_arguments,
        )

    def _reserved(  # noqa: PLR0917
        self,
        reply: list[int],
        rules: RuleSet,
        need: Need,
        offers: Sequence[KeyOffer],
        reservation_id: bytes,
        asked: PurseHold | None,
    ) -> Reservation:
        at_ms, number, changes, now = reply[1], reply[2], reply[3], self._loop.time()
        caller = Hold(reservation_id, rules, False, at_ms, now)
        if rules.lease_ms:
            self._live.add(caller)
        if asked is not None:
            if number or not offers:
                self._purses.admitted(asked, reply)
            else:
                asked = None
        if not number:
            soonest = reply[4] / 1000 if offers else None
            return Reservation(need, caller, None, None, False, soonest, reply, False, asked)
        offer = offers[number - 1]
        host = Hold(reservation_id, offer.limits, False, at_ms, now)
        if changes:
            host.probes = self.breakers.changed_by_admission(offer, changes)
        if offer.limits.lease_ms:
            self._live.add(host)
        return Reservation(need, caller, host, number - 1, bool(host.probes), None, reply, False, asked)

    def _refusal(self, reply: list[int], rules: RuleSet, need: Need, asked: PurseHold | None) -> RelayError:
        if reply[0] == _LIMITED:
            return self._limited(rules, need, reply[2], reply[4], reply)
        assert asked is not None
        return self._purses.refusal(asked, reply)

    def _limited(self, rules: RuleSet, need: Need, number: int, wait_ms: int, reply: list[int]) -> RateLimited:
        self._refused.value += 1
        rule = rules.rules[number - 1]
        needed = self._local.needed(rule, need)
        return RateLimited(
            rule.refusal_text(needed),
            retry_after_seconds=wait_ms / 1000,
            limits=tightest(rules.shown, reply[LIMITS:]) if reply else (),
        )

    def _decide_locally(
        self,
        rules: RuleSet,
        need: Need,
        offers: Sequence[KeyOffer],
        reservation_id: bytes,
        asked: PurseHold | None,
    ) -> Reservation:
        self._fallbacks.value += 1
        now = self._loop.time()
        if asked is not None:
            raise closed()
        if need.cost_nanousd and rules.counts_cost:
            raise Unavailable(_MONEY_TEXT, retry_after_seconds=1)
        refused = self._local.admit(rules, need, reservation_id, now)
        if refused is not None:
            raise self._limited(rules, need, *refused, [])
        caller = Hold(reservation_id, rules, True, 0, now)
        if rules.lease_ms:
            self._live.add(caller)
        soonest: float | None = None
        for number, offer in enumerate(offers):
            wait = self._local_wait(offer, need, reservation_id, now)
            if not wait:
                host = Hold(reservation_id, offer.limits, True, 0, now, self.breakers.pass_locally(offer, now))
                if offer.limits.lease_ms:
                    self._live.add(host)
                return Reservation(need, caller, host, number, bool(host.probes), None, [])
            soonest = wait if soonest is None else min(soonest, wait)
        return Reservation(need, caller, None, None, False, soonest, [])

    def _local_wait(self, offer: KeyOffer, need: Need, reservation_id: bytes, now: float) -> float:
        """0 when the offer takes the call, which is then counted; else for how many seconds it does not."""
        wait = self.breakers.wait_locally(offer, now)
        if wait:
            return wait
        if need.cost_nanousd and offer.limits.counts_cost:
            return 1.0
        refused = self._local.admit(offer.limits, need, reservation_id, now)
        return 0.0 if refused is None else refused[1] / 1000

    # --- settling ---

    def _settle(self, hold: Hold, tokens: int, cost_nanousd: int, purses: PursePart = NO_PURSES) -> None:
        """Gives back."""
        if hold.rules.lease_ms:
            self._live.discard(hold)
        if hold.is_local:
            self._local.settle(hold, tokens, cost_nanousd, self._loop.time())
            self.breakers.release_locally(hold.probes)
        elif hold.rules.settled_count or hold.probes or purses is not NO_PURSES:
            self.queue.settlements.add(hold, tokens, cost_nanousd, purses)
            self.queue.flush_soon()

    # --- long calls ---

    def _renew(self) -> None:
        self._renewal = self._loop.call_later(RENEW_CHECK_SECONDS, self._renew)
        if not self.queue.is_in_charge:
            return
        now = self._loop.time()
        names: list[bytes] = []
        arguments: list[bytes] = []
        for hold in self._live:
            if hold.is_local or now - hold.renewed_at < hold.rules.lease_ms / 3000:
                continue
            hold.renewed_at = now
            for lease in hold.rules.leases:
                names.append(lease.packed_key)
                arguments.append(hold.id + packed([b"%d" % lease.milliseconds]))
        for start in range(0, len(names), MAX_RENEWED):
            some = names[start : start + MAX_RENEWED]
            head = packed([b"EVALSHA", scripts.RENEW.sha1, b"%d" % len(some)])
            parts = [b"*%d\r\n" % (3 + 3 * len(some)), head, *some, *arguments[start : start + MAX_RENEWED]]
            self.queue.tell(b"".join(parts), self._renewed)

    def _renewed(self, reply: Reply) -> None:
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            self.queue.reload()
