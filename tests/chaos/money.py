"""Money beside the queued calls: a prepaid project and a metered one call a model and post deliveries, and an operator
grants the prepaid one a little every second, so that its wallet is empty most of the time.

Their calls may fail. What is checked is what they leave: balances to the micro-credit, and nothing spent that was not
there.
"""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp
import psycopg
import redis

from relay_contract.ids import uuid7
from relay_contract.redis import keys
from tests.system.product import Product, wait_for

PREPAID, METERED = "chaos-prepaid", "chaos"
BODY = {"model": "demo-gpt", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]}
PAUSE_SECONDS = 0.02
ANSWER_SECONDS = 20.0
GRANT_SECONDS = 1.0
GRANT = 2_000_000
"""Micro-credits: fewer than the calls and deliveries of a second would cost."""
LATE_SECONDS = 15
"""From a call to its entry, where workers or Postgres are killed too: the keeper waits ten for what is due."""
CLEAN_SECONDS = 480.0
"""A generation that an edge was killed in is given for five minutes, and closed two or three after it."""

_WALLETS = "SELECT slug, live_wallet_id FROM catalog_project WHERE slug = ANY(%s)"
_DETAILS = """
SELECT
    (SELECT coalesce(sum(amount), 0)::bigint FROM ledger_entry WHERE credit_id = %(id)s),
    (SELECT coalesce(sum(amount), 0)::bigint FROM ledger_entry WHERE debit_id = %(id)s),
    (SELECT coalesce(sum(charge_microcredits), 0)::bigint FROM traffic_call
        WHERE payer_id = %(id)s AND usage_source <> 'none'),
    (SELECT coalesce(sum(micro_credits), 0)::bigint FROM ledger_charge AS charge
        JOIN catalog_project AS project ON project.id = charge.project_id
        WHERE project.live_wallet_id = %(id)s AND charge.kind = 'settle')
"""
_UNPOSTED = """
SELECT coalesce(sum(charge_microcredits), 0)::bigint FROM traffic_call WHERE payer_id = %s AND EXISTS (
    SELECT 1 FROM unnest(%s::timestamptz[]) AS loss
    WHERE received_at BETWEEN loss - make_interval(secs => %s) AND loss
)
"""


@dataclass(frozen=True, slots=True)
class Account:
    """A wallet's figures at the end, in micro-credits."""

    name: str
    granted: int  # as callers of the control API were told
    credited: int  # entries
    debited: int
    called: int  # by the rows of calls
    delivered: int  # by the rows of deliveries that were settled
    balance: int  # as the control API says it

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.granted:,} granted, {self.called:,} for calls, {self.delivered:,} for deliveries,"
            f" {self.balance:,} left"
        )


def differences(account: Account, *, most_below: int | None) -> list[str]:
    """What does not add up; pure. `most_below`: how far a prepaid wallet may be below 0, None where any far."""
    found = []
    if account.credited != account.granted:
        found.append(f"{account.name}: {account.granted} was granted, and {account.credited} is in the ledger")
    if account.debited != account.called:
        found.append(f"{account.name}: calls were charged {account.called}, and {account.debited} is in the ledger")
    if account.balance != account.granted - account.called - account.delivered:
        found.append(f"{account.name}: the balance is {account.balance}, and not what the rows say")
    if most_below is not None and account.balance < -most_below:
        found.append(f"{account.name}: {-account.balance} below 0, and {most_below} may be")
    return found


class Spenders:
    """Callers of a model and of an endpoint for each of the projects, and whoever grants."""

    def __init__(self, product: Product, relay_keys: dict[str, str], endpoint: str, callers: int) -> None:
        self._product, self._keys, self._endpoint, self._callers = product, relay_keys, endpoint, callers
        self._wallets: dict[str, int] = dict(product.sql(_WALLETS, [PREPAID, METERED]))  # type: ignore[arg-type]
        self.granted: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()

    async def call_while(self, others: "asyncio.Task[None]") -> None:
        """Until the others are done. Raises what they raised."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            for name, key in self._keys.items():
                for path in ("/v1/chat/completions", f"/r/{name}/v1/{self._endpoint}") * self._callers:
                    tasks.create_task(self._call(session, name, path, key, others))
            if self._keys:
                tasks.create_task(self._grant(others))
        await others

    async def _call(
        self, session: aiohttp.ClientSession, name: str, path: str, key: str, others: "asyncio.Task[None]"
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        while not others.done():
            try:
                async with session.post(f"{self._product.edge_url}{path}", json=BODY, headers=headers) as answer:
                    await answer.read()
                    self.ends[f"{name} {answer.status}"] += 1
            except (aiohttp.ClientError, TimeoutError) as error:
                self.ends[f"{name} {type(error).__name__}"] += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _grant(self, others: "asyncio.Task[None]") -> None:
        while not others.done():
            await asyncio.to_thread(self._grant_once)
            await asyncio.sleep(GRANT_SECONDS)

    def _grant_once(self) -> None:
        """Sent again until it is answered, with its id: whatever died meanwhile, it is granted once."""
        path = f"/api/v1/wallets/{self._wallets[PREPAID]}/grants"
        body = {"id": str(uuid7()), "microcredits": GRANT, "note": "chaos"}
        wait_for(lambda: self._is_granted(path, body), "a grant", 120)
        self.granted[PREPAID] += GRANT

    def _is_granted(self, path: str, body: dict[str, Any]) -> bool:
        try:
            return bool(self._product.api(path, body))
        except (OSError, json.JSONDecodeError):  # with every answer that is an error
            return False

    def compared(self, losses: list[datetime]) -> tuple[list[str], list[str]]:
        """Lines for people, and everything that differs, once all is posted. `losses`: when Redis lost what it knew.
        What had just been called then, and was not posted yet, may have been spent a second time, and no more."""
        wait_for(self._is_posted, "all calls to be posted", 60)
        accounts = [self._account(name) for name in self._keys]
        [(most_below,)] = self._product.sql(_UNPOSTED, self._wallets[PREPAID], losses, LATE_SECONDS)
        found = [
            line
            for account in accounts
            for line in differences(account, most_below=most_below if account.name == PREPAID else None)
        ]
        return [
            *map(str, accounts),
            f"{PREPAID} may be {most_below:,} below 0: calls just before Redis lost its purses",
        ], found

    def _is_posted(self) -> bool:
        return not self._product.sql("SELECT 1 FROM ledger_due LIMIT 1")

    def _account(self, name: str) -> Account:
        wallet = self._wallets[name]
        [details] = self._product.sql(_DETAILS.replace("%(id)s", str(wallet)))
        balance = self._product.api(f"/api/v1/wallets/{wallet}")["balance"]
        return Account(name, self.granted[name], *details, balance)


def flush(product: Product) -> bool:
    """FLUSHALL; False while Redis is away."""
    try:
        with redis.Redis.from_url(product.redis_url) as client:
            client.flushall()
    except redis.RedisError:
        return False
    return True


def is_open(product: Product) -> bool:
    """Whether purses pay."""
    try:
        with redis.Redis.from_url(product.redis_url) as client:
            return bool(client.exists(keys.MONEY))
    except redis.RedisError:
        return False


def reconciled(product: Product) -> tuple[str, list[str]]:
    """What `credits reconcile` says, tried until generations with killed edges are closed; and its drifts if they are
    never gone."""
    wait_for(lambda: is_open(product), "money to be open", 60)
    said: list[str] = []

    def is_clean() -> bool:
        try:
            said[:] = ["reconcile: " + ", ".join(product.manage("credits", "reconcile").splitlines())]
        except (AssertionError, psycopg.Error) as problem:
            said[:] = [str(problem)]
            return False
        return True

    try:
        wait_for(is_clean, "a clean reconciliation", CLEAN_SECONDS)
    except AssertionError:
        return "credits reconcile failed", said
    return said[0], []
