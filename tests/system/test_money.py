"""A prepaid project under many callers, with an edge killed and Redis emptied in mid-traffic: nothing is free, nothing
is spent twice, and in the end Redis believes what the ledger says."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable

import aiohttp
import pytest
import redis

from relay_contract import tokens
from relay_contract.ids import uuid7
from relay_contract.nouns import KeyMode
from relay_contract.redis import keys
from tests.system.product import Product, wait_for

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("kills"), pytest.mark.timeout(240)]

CALLERS, CALLS, EDGES = 64, 1200, 2
BODY = {"model": "demo-gpt", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]}
# A project of its own: in the demo project's wallet are holds of deliveries that tests before this one left behind.
PROJECT = """
version: 1
projects:
  - slug: spender
    name: Spender
    relay_keys:
      - name: spender
        mode: live
        scopes: [inference]
        policy: everything
        token_env: SPENDER_KEY
"""
_BALANCE = """
SELECT coalesce(sum(CASE WHEN credit_id = %s THEN amount ELSE -amount END), 0)::bigint FROM ledger_entry
WHERE %s IN (debit_id, credit_id)
"""
_CHARGED = "SELECT coalesce(sum(charge_microcredits), 0)::bigint FROM traffic_call WHERE payer_id = %s"


@pytest.fixture
def product(mortal_product: Product) -> Product:
    return mortal_product


class Wallet:
    """Of the prepaid project, and the key that spends it."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self.relay_key = tokens.mint(KeyMode.LIVE).token
        product.apply(PROJECT, SPENDER_KEY=self.relay_key)
        product.sql("UPDATE catalog_project SET billing = 'prepaid' WHERE slug = 'spender'")
        [(self.id,)] = product.sql("SELECT live_wallet_id FROM catalog_project WHERE slug = 'spender'")

    def grant(self, amount: int) -> None:
        self._product.sql(
            "INSERT INTO ledger_entry (source, kind, debit_id, credit_id, amount, note)"
            " VALUES (%s, 11, %s, %s, %s, '')",
            *(uuid7(), 6 + self.id % 2, self.id, amount),
        )

    def posted(self) -> int:
        """Micro-credits left by the entries."""
        [(amount,)] = self._product.sql(_BALANCE, self.id, self.id)
        return int(amount)

    def charged(self) -> int:
        """Micro-credits for calls, by their rows."""
        [(amount,)] = self._product.sql(_CHARGED, self.id)
        return int(amount)

    def holders(self) -> set[str]:
        """The edge processes that hold something of it, or did."""
        with redis.Redis.from_url(self._product.redis_url, decode_responses=True) as client:
            fields = client.hkeys(keys.purse("w", str(self.id)))
        return {name.split(":")[1] for name in fields if name.startswith("h:")}

    def believed(self) -> int | None:
        """Micro-credits left as Redis has it; None while money is closed."""
        return self._product.purse_of(self.id)


async def call_all(
    product: Product, wallet: Wallet, disturbances: dict[int, Callable[[], None]], calls: int = CALLS
) -> Counter[int]:
    """Statuses of whole answers and of streams by turns, on both edge processes; a disturbance comes before the call of
    its number. 0: cut off."""
    statuses: Counter[int] = Counter()
    numbers = iter(range(calls))

    async def caller(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            if number in disturbances:
                disturbances.pop(number)()
            try:
                body = BODY | {"stream": number % 2 == 1}
                async with session.post(f"{product.edge_url}/v1/chat/completions", json=body) as answer:
                    said = await answer.read()
                    is_cut = answer.status == 200 and body["stream"] and not said.endswith(b"data: [DONE]\n\n")
                    statuses[0 if is_cut else answer.status] += 1
                    if answer.status == 503:
                        await asyncio.sleep(0.2)
            except aiohttp.ClientError:
                statuses[0] += 1

    headers = {"Authorization": f"Bearer {wallet.relay_key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(caller(session) for _ in range(CALLERS)))
    return statuses


def test_a_prepaid_wallet_under_kills(product: Product) -> None:
    wallet = Wallet(product)

    def said(calls: int) -> set[int]:
        return {*asyncio.run(call_all(product, wallet, {}, calls))}

    wait_for(lambda: wallet.believed() is not None, "money to be open")
    wait_for(lambda: said(2 * CALLERS) == {402}, "both edges to hear of it")
    assert said(CALLS) == {402}

    wallet.grant(10**12)
    wait_for(lambda: wallet.believed() == wallet.posted(), "the purse to hear of the grant")
    before, charged_before = wallet.posted(), wallet.charged()

    def kill_edge() -> None:
        assert len(wallet.holders()) == EDGES
        os.kill(product.processes("relay_edge")[-1].pid, signal.SIGKILL)

    def flush() -> None:
        with redis.Redis.from_url(product.redis_url) as client:
            client.flushall()

    statuses = asyncio.run(call_all(product, wallet, {CALLS // 4: kill_edge, CALLS // 2: flush}))
    assert statuses[200] > CALLS / 4, statuses
    assert set(statuses) <= {0, 200, 503}, statuses
    wait_for(lambda: wallet.believed() is not None, "money to be open again")
    wait_for(lambda: wallet.believed() == wallet.posted(), "one balance", 60)
    assert 0 < wallet.posted() < before
    assert before - wallet.posted() == wallet.charged() - charged_before
    assert "every account is what its details say" in product.manage("credits", "check")
