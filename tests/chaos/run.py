"""One run: three-way fan-out calls while processes die, the drain, and what is found afterwards."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from bench.parts import Part, fetch, server
from relay_contract import tokens
from relay_contract.nouns import KeyMode
from tests.chaos import evidence, money
from tests.chaos.beside import Beside
from tests.chaos.kills import Killer, plan
from tests.chaos.money import METERED, PREPAID, Spenders
from tests.chaos.traffic import Acknowledged, Traffic
from tests.system.product import Product, wait_for

EVENTS, SYNC, STREAM, PAID = "chaos-events", "chaos-sync", "chaos-stream", "chaos-paid"
TARGETS = ("one", "two", "three")
MOST_SHOWN = 200
ASKED_AGAIN = 50
"""Keys that are sent once more at the end: they get the answer they had."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much, and for how long at the most: `seconds` for the calls, and as much again for the drain."""

    requests: int = 10_000
    concurrency: int = 64
    kills: int = 24
    beside: int = 4  # callers of a sync target, and as many of a stream target
    spenders: int = 4  # of a prepaid and of a metered project, callers of a model, and as many of an endpoint
    waiting: float = 0.5  # the share of kills that wait until purses pay, and hold the calls back meanwhile
    seed: int = 1
    seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run. It is as it should be when there are no `differences`."""

    options: Options
    killed: Counter[str]
    commands: list[str]
    acknowledged: int
    again: Counter[str]
    beside: Counter[str]
    spent: Counter[str]
    accounts: list[str]
    deliveries: int
    repeats: int
    call_seconds: float
    drain_seconds: float
    credits: str
    differences: list[str]

    def text(self) -> str:
        """For people."""
        options = self.options
        took = f"in {self.call_seconds:.0f} s, drained in {self.drain_seconds:.0f} s more"
        lines = [
            f"seed {options.seed}: {self.acknowledged:,} calls acknowledged, {options.concurrency} at once, {took}",
            f"killed (SIGKILL): {_counts(self.killed)}",
            *self.commands,
            f"calls made again with the same Idempotency-Key: {_counts(self.again) or 'none'}",
            f"sync and stream calls beside them: {_counts(self.beside) or 'none'}",
            f"calls that cost something: {_counts(self.spent) or 'none'}",
            *self.accounts,
            f"deliveries: {self.deliveries:,}, and {self.repeats:,} calls to targets beyond one each",
            self.credits,
        ]
        if not self.differences:
            return "\n".join([*lines, "nothing is missing, nothing is counted twice"])
        return "\n".join([*lines, f"{len(self.differences)} DIFFERENCES", *self.differences[:MOST_SHOWN]])


def run(product: Product, options: Options) -> Report:
    """Call it from the main thread. Raises AssertionError when calls are not taken in time, or not drained."""
    with server("sink") as sink:
        token, paying = tokens.mint(KeyMode.LIVE).token, tokens.mint(KeyMode.LIVE).token
        product.apply(_document(sink.url, product.sink_url), CHAOS_KEY=token, CHAOS_PREPAID_KEY=paying)
        killer = Killer(product, plan(options.seed, options.requests, options.kills, options.waiting))
        url = f"{product.edge_url}/r/{METERED}/v1"
        traffic = Traffic(f"{url}/{EVENTS}", token, options.concurrency, _in_turn(killer))
        beside = Beside([f"{url}/{SYNC}", f"{url}/{STREAM}?events=10"], token, options.beside)
        spenders = Spenders(product, {PREPAID: paying, METERED: token}, PAID, options.spenders)
        began = time.monotonic()
        asyncio.run(_call(traffic, beside, spenders, options))
        while killer.next_at is not None:  # due with the last calls, or while one before it was carried out
            killer.kill_next()
        called = time.monotonic()
        wait_for(lambda: _is_drained(product.database_url), "the queue to be drained", options.seconds)
        drained = time.monotonic()
        asyncio.run(traffic.call_all(list(traffic.said.ids)[:: options.requests // ASKED_AGAIN], options.seconds))
        accounts, unpaid = spenders.compared(killer.losses)
        credits_, problems = _credits(product)
        deliveries, repeats, differences = _compared(product, sink, traffic.said)
        return Report(
            options=options,
            killed=killer.killed,
            commands=killer.commands,
            acknowledged=len(traffic.said.ids),
            again=traffic.said.again,
            beside=beside.ends,
            spent=spenders.ends,
            accounts=accounts,
            deliveries=deliveries,
            repeats=repeats,
            call_seconds=called - began,
            drain_seconds=drained - called,
            credits=credits_,
            differences=differences + unpaid + problems,
        )


def _in_turn(killer: Killer) -> Callable[[int], Awaitable[None]]:
    """What is due at an acknowledgement, one kill after the other; whoever comes meanwhile goes on, but for kills that
    wait for purses: those who spend are then alone."""
    turn, going = asyncio.Lock(), asyncio.Event()
    going.set()

    async def on_acknowledged(count: int) -> None:
        await going.wait()
        if turn.locked():
            return
        async with turn:
            while killer.next_at is not None and killer.next_at <= count:
                if killer.next_waits:
                    going.clear()
                    try:
                        await asyncio.to_thread(killer.let_pay)
                    finally:
                        going.set()
                await asyncio.to_thread(killer.kill_next)

    return on_acknowledged


async def _call(traffic: Traffic, beside: Beside, spenders: Spenders, options: Options) -> None:
    await traffic.begin()
    keys = [f"{options.seed}-{number}" for number in range(options.requests)]
    calling = asyncio.create_task(traffic.call_all(keys, options.seconds))
    await asyncio.gather(beside.call_while(calling), spenders.call_while(calling))


def _is_drained(url: str) -> bool:
    try:
        with psycopg.connect(url, autocommit=True) as database:
            return evidence.is_drained(database, (EVENTS, SYNC, STREAM, PAID))
    except psycopg.OperationalError:
        return False  # it was killed last, and is coming back


def _compared(product: Product, sink: Part, said: Acknowledged) -> tuple[int, int, list[str]]:
    """Finished deliveries, calls to the three targets beyond one each, and everything that differs."""
    counts, ids = fetch(f"{sink.url}/seen"), fetch(f"{sink.url}/received")
    seen = {name: set(ids.get(f"/{name}", [])) for name in TARGETS}
    repeats = sum(counts[f"/{name}"]["calls"] for name in TARGETS) - sum(map(len, seen.values()))
    with psycopg.connect(product.database_url, autocommit=True) as database:
        stored = [evidence.stored(database, slug) for slug in (EVENTS, SYNC, STREAM, PAID)]
    found = evidence.differences(said, stored[0], seen)
    found += [line for others in stored[1:] for line in evidence.unaccounted(others, 1)]
    asked = counts.get(f"/{SYNC}", {"calls": 0, "distinct": 0})
    if asked["calls"] != asked["distinct"]:
        found.append(f"{asked['calls'] - asked['distinct']} sync calls were sent more than once")
    return sum(len(each.deliveries) for each in stored), repeats, found


def _credits(product: Product) -> tuple[str, list[str]]:
    """What `credits check` and `credits reconcile` say, and that one failed where it did."""
    try:
        checked = product.manage("credits", "check").strip()
    except AssertionError as problem:
        return "credits check failed", [str(problem)]
    reconciled, problems = money.reconciled(product)
    return f"{checked}\n{reconciled}", problems


def _document(sink_url: str, demo_sink_url: str) -> str:
    targets = "".join(
        f"\n              - {{name: {name}, url: {sink_url}/{name}, timeout_seconds: 3}}" for name in TARGETS
    )
    paid = f"""
          - slug: {PAID}
            targets:
              - {{name: paid, url: {sink_url}/{PAID}, timeout_seconds: 3}}"""
    return f"""
version: 1
projects:
  - slug: {PREPAID}
    name: Chaos, prepaid
    billing: prepaid
    relay_keys:
      - {{name: callers, scopes: [relay, inference], policy: everything, token_env: CHAOS_PREPAID_KEY}}
    lines:
      - slug: v1
        endpoints:{paid}
  - slug: {METERED}
    name: Chaos
    relay_keys:
      - {{name: callers, scopes: [relay, inference], policy: everything, token_env: CHAOS_KEY}}
    lines:
      - slug: v1
        endpoints:{paid}
          - slug: {EVENTS}
            targets:{targets}
          - slug: {SYNC}
            targets:
              - {{name: answers, url: {sink_url}/{SYNC}, delivery_mode: sync, timeout_seconds: 3}}
          - slug: {STREAM}
            targets:
              - name: ticks
                url: {demo_sink_url}/streams/ticks
                delivery_mode: stream
                stream_total_seconds: 5
                signing_secret_env: DEMO_SINK_SECRET
"""


def _counts(counter: Counter[Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())
