"""One run: three-way fan-out calls while processes die, the drain, and what is found afterwards."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psycopg

from bench.parts import Part, fetch, server
from relay_contract import tokens
from relay_contract.nouns import KeyMode
from tests.chaos import evidence
from tests.chaos.kills import Killer, plan
from tests.chaos.traffic import Acknowledged, Traffic
from tests.system.product import Product, wait_for

SLUG = "chaos"
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
            f"deliveries: {self.deliveries:,}, and {self.repeats:,} calls to targets beyond one each",
            self.credits,
        ]
        if not self.differences:
            return "\n".join([*lines, "nothing is missing, nothing is counted twice"])
        return "\n".join([*lines, f"{len(self.differences)} DIFFERENCES", *self.differences[:MOST_SHOWN]])


def run(product: Product, options: Options) -> Report:
    """Call it from the main thread. Raises AssertionError when calls are not taken in time, or not drained."""
    with server("sink") as sink:
        token = tokens.mint(KeyMode.LIVE).token
        product.apply(_document(sink), CHAOS_KEY=token)
        killer = Killer(product, plan(options.seed, options.requests, options.kills))
        began = time.monotonic()
        said = asyncio.run(_call(_url(product), token, options, killer))
        while killer.next_at is not None:  # due with the last calls, or while one before it was carried out
            killer.kill_next()
        called = time.monotonic()
        url = product.database_url
        wait_for(lambda: _is_drained(url), "the queue to be drained", options.seconds)
        drained = time.monotonic()
        asyncio.run(_ask_again(_url(product), token, options, said))
        seen = {name: set(ids) for name in TARGETS for ids in [fetch(f"{sink.url}/ids").get(f"/{name}", [])]}
        calls = sum(counts["calls"] for counts in fetch(f"{sink.url}/seen").values())
        with psycopg.connect(url, autocommit=True) as database:
            stored = evidence.stored(database, SLUG)
        differences = evidence.differences(said, stored, seen)
        credits_, problems = _credits(product)
        return Report(
            options=options,
            killed=killer.killed,
            commands=killer.commands,
            acknowledged=len(said.ids),
            again=said.again,
            deliveries=len(stored.deliveries),
            repeats=calls - sum(map(len, seen.values())),
            call_seconds=called - began,
            drain_seconds=drained - called,
            credits=credits_,
            differences=differences + problems,
        )


async def _call(url: str, token: str, options: Options, killer: Killer) -> Acknowledged:
    turn = asyncio.Lock()

    async def on_acknowledged(count: int) -> None:
        if turn.locked():
            return
        async with turn:
            while killer.next_at is not None and killer.next_at <= count:
                await asyncio.to_thread(killer.kill_next)

    traffic = Traffic(url, token, options.concurrency, on_acknowledged)
    await traffic.begin()
    await traffic.call_all([f"{options.seed}-{number}" for number in range(options.requests)], options.seconds)
    return traffic.said


async def _ask_again(url: str, token: str, options: Options, said: Acknowledged) -> None:
    """Some of the keys, once more: what differs from the first answer is in `said.wrong`."""

    async def on_acknowledged(_count: int) -> None:
        """Nobody is killed any more."""

    traffic = Traffic(url, token, 4, on_acknowledged)
    traffic.said = said
    await traffic.call_all(list(said.ids)[:: max(1, len(said.ids) // ASKED_AGAIN)], options.seconds)


def _is_drained(url: str) -> bool:
    try:
        with psycopg.connect(url, autocommit=True) as database:
            return evidence.live_count(database, SLUG) == 0
    except psycopg.OperationalError:
        return False  # it was killed last, and is coming back


def _credits(product: Product) -> tuple[str, list[str]]:
    """What `credits check` says, and that it failed where it did."""
    try:
        return product.manage("credits", "check").strip(), []
    except AssertionError as problem:
        return "credits check failed", [str(problem)]


def _url(product: Product) -> str:
    return f"{product.edge_url}/r/{SLUG}/v1/{SLUG}"


def _document(sink: Part) -> str:
    targets = "".join(
        f"\n              - {{name: {name}, url: {sink.url}/{name}, timeout_seconds: 3}}" for name in TARGETS
    )
    return f"""
version: 1
projects:
  - slug: {SLUG}
    name: Chaos
    relay_keys:
      - {{name: callers, scopes: [relay], token_env: CHAOS_KEY}}
    lines:
      - slug: v1
        endpoints:
          - slug: {SLUG}
            targets:{targets}
"""


def _counts(counter: Counter[Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())
