"""Callers who pay beforehand, beside those who pay afterwards: one project with a wallet, and a thousand of them.

Projects, keys and grants are written by SQL, as many rows as they are; who tells Redis of the money is the product's
keeper, as always. Every key has the policy and the limits of the bench's own, so that money is all that differs.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.measure import Contender, Sample, product_contender
from bench.parts import BenchError
from bench.product import CHAT_MODEL, CHAT_PATH, Product, post
from bench.report import OURS, Aim, Figure, Samples
from relay_contract import tokens
from relay_contract.ids import uuid7
from relay_contract.nouns import KeyMode

WALLETS = 1_000
MICROCREDITS = 10**12
READY_SECONDS = 60.0

_PROJECTS = """
INSERT INTO catalog_project (slug, name, description, is_archived, billing, created_at, updated_at)
SELECT 'bench-wallet-' || n, 'wallet', '', false, 'prepaid', now(), now() FROM generate_series(1, %s) AS n
RETURNING id, live_wallet_id
"""
_KEYS = """
INSERT INTO access_relaykey (project_id, name, mode, key_id, token_hash, scopes, policy_id, rate_limit_id,
                             captures_payloads, created_at)
SELECT fresh.project, 'bench', 'live', fresh.key_id, fresh.token_hash, ARRAY['inference'], own.policy_id,
       own.rate_limit_id, false, now()
FROM unnest(%s::bigint[], %s::text[], %s::bytea[]) AS fresh (project, key_id, token_hash),
     (SELECT policy_id, rate_limit_id FROM access_relaykey WHERE name = 'bench') AS own
"""
_GRANTS = """
INSERT INTO ledger_entry (source, kind, debit_id, credit_id, amount, note)
SELECT grant_id, 11, 6, wallet, %s, '' FROM unnest(%s::uuid[], %s::bigint[]) AS each (grant_id, wallet)
"""


@dataclass(frozen=True, slots=True)
class Way:
    """How a call is paid: the contender's name, and how the figures call it."""

    name: str
    text: str


ONE, MANY = Way("relay_prepaid", "one wallet"), Way("relay_wallets", f"{WALLETS:,} wallets")


def contenders(product: Product) -> list[Contender]:
    """The product, asked by one prepaid key, and by those of WALLETS projects in turn. BenchError when a wallet is not
    told of in time."""
    minted = [tokens.mint(KeyMode.LIVE) for _ in range(WALLETS)]
    with product.database() as connection:
        projects = connection.execute(_PROJECTS, [WALLETS]).fetchall()
        ids = [[each[0] for each in projects], [key.key_id for key in minted], [key.hash for key in minted]]
        connection.execute(_KEYS, ids)
        connection.execute(_GRANTS, [MICROCREDITS, [uuid7() for _ in projects], [each[1] for each in projects]])
    keys = [key.token for key in minted]
    _wait_until_paid(product, keys)
    base = product_contender(product)
    one, many = [keys[0]], keys
    return [
        Contender(way.name, base.url, {}, base.roles, bearers=tuple(shown)) for way, shown in ((ONE, one), (MANY, many))
    ]


def _wait_until_paid(product: Product, keys: Sequence[str]) -> None:
    body = f'{{"model": "{CHAT_MODEL}", "max_tokens": 9, "messages": [{{"role": "user", "content": "ping"}}]}}'.encode()
    deadline = time.monotonic() + READY_SECONDS
    for key in keys:
        while (said := post(product, CHAT_PATH, body, key))[0] != 200:
            if time.monotonic() > deadline:
                raise BenchError(f"A prepaid key answers {said[0]} after {READY_SECONDS:.0f} s: {said[1]}")
            time.sleep(0.1)


def figures(samples: Samples) -> list[Figure]:
    """What paying beforehand adds to a call: the difference to the metered ones of the same round."""
    found: list[Figure] = []
    for way in (ONE, MANY):
        for role, text, bound in (("edge", "edge", 6.0), ("valkey", "Valkey", 8.0)):
            pairs = zip(samples[way.name], samples[OURS], strict=True)
            added = tuple(round(_us(ours, role) - _us(metered, role), 3) for ours, metered in pairs)
            aim = Aim(bound, is_upper=True)
            name = f"{text} CPU that a prepaid call adds, {way.text}"
            found.append(Figure(name, "us", statistics.median(added), aim=aim, rounds=added))
    return found


def _us(sample: Sample, role: str) -> float:
    return sample.cpu_seconds[role] / sample.outcome.completed * 1e6
