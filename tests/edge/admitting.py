"""Admissions on a real Valkey, rules, and offers to choose from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import redis

from relay_contract.errors import RateLimited
from relay_contract.nouns import (
    Algorithm,
    HostBindingId,
    HostKey,
    HostKeyId,
    Meter,
    RateLimit,
    RateLimitId,
    Rule,
)
from relay_contract.traffic import BreakerEventRow
from relay_edge.admission import NOTHING, Admission, Need
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.charges import Charge, ChargeSet, charge_set
from relay_edge.deadlines import DeadlineWheel
from relay_edge.metrics import Metrics
from relay_edge.offers import Offer, Offers
from relay_edge.routing import Candidate
from tests.edge.nouns import BINDING, HOST, HOST_KEY, MODEL


def charges(*rules: Rule, scope: str = "key", owner: int = 1, limit: int = 1) -> ChargeSet:
    return charge_set((Charge(scope, owner, RateLimit(RateLimitId(limit), f"limit-{limit}", rules)),))


def requests(amount: int, seconds: int = 3600) -> Rule:
    return Rule(Meter.REQUESTS, amount, seconds)


def tokens(amount: int, seconds: int = 3600) -> Rule:
    return Rule(Meter.TOKENS, amount, seconds)


def cost(micro_usd: int, seconds: int = 3600) -> Rule:
    return Rule(Meter.COST, micro_usd, seconds)


def concurrency(amount: int, seconds: int = 60) -> Rule:
    return Rule(Meter.CONCURRENCY, amount, seconds)


def gcra(meter: Meter, amount: int, burst: int, seconds: int = 3600) -> Rule:
    return Rule(meter, amount, seconds, Algorithm.GCRA, burst)


def candidate(number: int, binding: int | None = None, upstream_name: str = BINDING.upstream_name) -> Candidate:
    """Host key `number`, whose value is `value-<number>`, behind binding `number` unless another is named."""
    return Candidate(
        MODEL,
        replace(BINDING, id=HostBindingId(binding or number), upstream_name=upstream_name),
        HOST,
        replace(HOST_KEY, id=HostKeyId(number), rate_limit_id=RateLimitId(number)),
        None,
    )


def offers_of(*candidates: Candidate, limits: dict[int, tuple[Rule, ...]] | None = None) -> list[Offer]:
    """`limits`: rules by host key id."""
    rows = [RateLimit(RateLimitId(number), f"vendor-{number}", rules) for number, rules in (limits or {}).items()]

    def unseal(key: HostKey) -> str:
        return f"value-{key.id}"

    found = [Offers(Snapshot.build(rows), unseal).of(each) for each in candidates]
    return [offer for offer in found if offer is not None]


@asynccontextmanager
async def running(
    url: str,
    processes: int = 1,
    on_event: Callable[[BreakerEventRow], None] | None = None,
    unwritten_seconds: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[Admission]:
    wheel = DeadlineWheel(asyncio.get_running_loop())
    admission = Admission(
        url, wheel, Metrics(), processes=processes, on_event=on_event, unwritten_seconds=unwritten_seconds
    )
    await admission.start()
    try:
        yield admission
    finally:
        await admission.close()
        wheel.close()


@contextmanager
def client(url: str) -> Iterator[Any]:
    with redis.Redis.from_url(url) as connection:
        yield connection


async def outcomes(admission: Admission, wanted: ChargeSet, count: int, need: Need = NOTHING) -> list[Any]:
    """What `count` calls at once come to: a reservation or the error of each."""
    return await asyncio.gather(*[admission.admit(wanted, need=need) for _ in range(count)], return_exceptions=True)


def admitted(found: list[Any]) -> int:
    assert all(isinstance(one, RateLimited) for one in found if isinstance(one, BaseException)), found
    return sum(not isinstance(one, BaseException) for one in found)


def counted(connection: Any, wanted: ChargeSet) -> list[int | None]:
    """What the window of each rule holds."""
    values = [connection.hget(rule.key, "current") for rule in wanted.rules]
    return [None if value is None else int(value) for value in values]
