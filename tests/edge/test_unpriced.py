"""What becomes of a model that nobody knows the price of, as callers and hosts see it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay_contract import nouns, tokens
from relay_contract.errors import ModelUnpriced
from relay_contract.nouns import Fallback, FallbackCondition, Meter, Noun, Rule, Unpriced, WireShape
from relay_contract.pricing import PriceMeter, Rate
from relay_edge.call_rows import bill_of
from tests.edge.nouns import BINDING, MODEL, POLICY, PRICING, RELAY_KEY, numbered
from tests.edge.plane import AUTHORIZED, Plane, catalog_of, running_plane
from tests.edge.test_inference import CALL, PATHS
from tests.edge.vendor import Vendor

GUESS = numbered(PRICING, 8, slug="guess", version=4, rates=(Rate(PriceMeter.CALL, 5_000_000_000_000_000),))
"""5 USD a call, whatever it uses."""
COST = nouns.RateLimit(nouns.RateLimitId(9), "12-usd", (Rule(Meter.COST, 12_000_000, 3600),))
DENY = {"unpriced": Unpriced.DENY}
ESTIMATE = {"unpriced": Unpriced.ESTIMATE, "estimate_pricing_id": GUESS.id}


def under(rows: list[Noun], **policy: Any) -> list[Noun]:
    """The catalog with another policy, beside both prices and the limit."""
    changed = [replace(row, **policy) if isinstance(row, nouns.Policy) else row for row in rows]
    return [PRICING, GUESS, COST, *changed]


def priced(rows: list[Noun], host_id: int) -> list[Noun]:
    """With a price at this host."""
    return [
        replace(row, pricing_id=PRICING.id) if isinstance(row, nouns.HostBinding) and row.host_id == host_id else row
        for row in rows
    ]


async def listed(plane: Plane) -> list[str]:
    caller = await plane.caller()
    await caller.send(f"GET /v1/models HTTP/1.1\r\nHost: relay\r\n{AUTHORIZED}\r\n\r\n".encode())
    return [each["id"] for each in (await caller.answer()).json["data"]]


@pytest.mark.parametrize("shape", [WireShape.OPENAI_CHAT, WireShape.OPENAI_RESPONSES, WireShape.ANTHROPIC_MESSAGES])
async def test_a_policy_that_denies_them_refuses_in_the_callers_shape(shape: WireShape) -> None:
    async with Vendor() as vendor, running_plane(under(catalog_of(vendor), **DENY)) as plane:
        document = {**CALL, "input": "hi"} if shape is WireShape.OPENAI_RESPONSES else CALL
        refused = await plane.post(document, path=PATHS[shape])
        error = refused.json["error"]
        assert (refused.status, error["message"], error["type"]) == (403, ModelUnpriced.text, "permission_error")
        assert error.get("code", "model_unpriced") == "model_unpriced"
        assert refused.headers["x-relay-error-source"] == "client"
        [record] = plane.served
        assert (record.error, vendor.calls, await listed(plane)) == ("model_unpriced", [], [])


async def test_a_policy_that_denies_them_passes_over_to_a_host_with_a_price() -> None:
    async with Vendor() as first, Vendor() as second:
        rows = priced(under(catalog_of(first, second), **DENY), host_id=2)
        async with running_plane(rows) as plane:
            answer = await plane.post(CALL)
            assert (answer.status, answer.headers["x-relay-host"], first.calls) == (200, "vendor-2", [])
            assert await listed(plane) == ["demo-gpt"]


@pytest.mark.parametrize(
    ("when", "status"), [(FallbackCondition.ANY_FAILURE, 200), (FallbackCondition.CONTEXT_LENGTH, 403)]
)
async def test_a_fallback_with_a_price_stands_in(when: FallbackCondition, status: int) -> None:
    async with Vendor() as vendor:
        fallback = Fallback(("demo-gpt",), (when,), ("demo-priced",))
        rows = [
            *under(catalog_of(vendor), fallbacks=(fallback,), **DENY),
            numbered(MODEL, 2, name="demo-priced"),
            numbered(BINDING, 2, model_id=nouns.ModelId(2), pricing_id=PRICING.id),
        ]
        async with running_plane(rows) as plane:
            answer = await plane.post(CALL)
            assert answer.status == status
            assert answer.headers.get("x-relay-model") == ("demo-priced" if status == 200 else None)


async def test_an_estimate_is_what_is_reserved_counted_and_recorded(redis_url: str) -> None:
    async with Vendor() as vendor:
        rows = under(catalog_of(vendor), rate_limit_id=COST.id, **ESTIMATE)
        async with running_plane(rows, redis_url=redis_url) as plane:
            assert [(await plane.post(CALL)).status for _ in range(3)] == [200, 200, 429]  # 5 USD each, of 12
            record = plane.served[0]
            assert record.reservation is not None
            assert record.reservation.need.cost_nanousd == 5_000_000_000
            assert bill_of(record).cost_nanousd == 5_000_000_000
            assert record.candidate is not None
            assert (record.candidate.pricing, record.candidate.estimate_id) == (GUESS, GUESS.id)
        assert len(vendor.calls) == 2


async def test_an_estimate_stands_in_for_no_price_that_is_known(redis_url: str) -> None:
    async with Vendor() as vendor:
        rows = priced(under(catalog_of(vendor), **ESTIMATE), host_id=1)
        async with running_plane(rows, redis_url=redis_url) as plane:
            await plane.post(CALL)
            [record] = plane.served
            assert record.candidate is not None
            assert (record.candidate.pricing, record.candidate.estimate_id) == (PRICING, None)


async def test_policies_that_estimate_differently_share_no_candidate() -> None:
    dear = numbered(GUESS, 7, slug="dear", rates=(Rate(PriceMeter.CALL, 7_000_000_000_000_000),))
    other = tokens.mint(nouns.KeyMode.LIVE)
    async with Vendor() as vendor:
        rows = [
            *under(catalog_of(vendor), **ESTIMATE),
            dear,
            numbered(POLICY, 2, slug="dear", unpriced=Unpriced.ESTIMATE, estimate_pricing_id=dear.id),
            numbered(RELAY_KEY, 2, token_hash=other.hash, policy_id=nouns.PolicyId(2)),
        ]
        async with running_plane(rows) as plane:
            await plane.post(CALL)
            caller = await plane.caller()
            await caller.post(CALL, f"Authorization: Bearer {other.token}")
            assert (await caller.answer()).status == 200
            assert [bill_of(record).cost_nanousd for record in plane.served] == [5_000_000_000, 7_000_000_000]


async def test_an_estimate_that_cannot_be_read_makes_nothing_free() -> None:
    async with Vendor() as vendor:
        rows = [row for row in under(catalog_of(vendor), **ESTIMATE) if row is not GUESS]
        async with running_plane(rows) as plane:
            refused = await plane.post(CALL)
            assert (refused.status, refused.json["error"]["code"], vendor.calls) == (403, "model_unpriced", [])


def with_a_limited_key(vendor: Vendor, *limited: int, **policy: Any) -> list[Noun]:
    """The first host's keys of these numbers are under a limit of cost."""
    return [
        replace(row, rate_limit_id=COST.id) if isinstance(row, nouns.HostKey) and row.id in limited else row
        for row in under(catalog_of(vendor, keys=2), **policy)
    ]


async def test_a_host_key_under_a_limit_of_cost_takes_no_call_without_a_price(redis_url: str) -> None:
    async with Vendor() as vendor:
        rows = with_a_limited_key(vendor, 1)
        async with running_plane(rows, redis_url=redis_url) as plane:
            assert [(await plane.post(CALL)).status for _ in range(4)] == [200] * 4
            assert {call.header("authorization") for call in vendor.calls} == {"Bearer sk-vendor-2"}
            plane.swap(with_a_limited_key(vendor, 1, 2))
            refused = await plane.post(CALL)
            assert (refused.status, refused.json["error"]["code"]) == (403, "model_unpriced")
            plane.swap(with_a_limited_key(vendor, 1, 2, **ESTIMATE))
            assert [(await plane.post(CALL)).status for _ in range(5)] == [200, 200, 200, 200, 503]  # 2 on each key
