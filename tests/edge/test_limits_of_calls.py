"""Limits and breakers as a caller and a vendor see them, over real connections."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay_contract import nouns
from relay_contract.errors import ModelUnpriced
from relay_contract.nouns import WireShape
from relay_contract.traffic import FailureClass
from tests.edge.conftest import until
from tests.edge.nouns import PRICING
from tests.edge.plane import catalog_of, running_plane
from tests.edge.test_inference import CALL, PATHS
from tests.edge.vendor import Vendor, VendorCall, Wire


def limited(*vendors: Vendor, keys: int = 1, rules: tuple[nouns.Rule, ...]) -> list[nouns.Noun]:
    """Limits of the policy."""
    limit = nouns.RateLimit(nouns.RateLimitId(9), "tight", rules)
    rows = [
        replace(row, rate_limit_id=limit.id) if isinstance(row, nouns.Policy) else row
        for row in catalog_of(*vendors, keys=keys)
    ]
    return [limit, *rows]


@pytest.mark.parametrize("shape", [WireShape.OPENAI_CHAT, WireShape.ANTHROPIC_MESSAGES])
async def test_what_is_left_is_told_in_the_callers_shape(shape: WireShape, redis_url: str) -> None:
    async with Vendor(shape) as vendor:
        rows = limited(vendor, rules=(nouns.Rule(nouns.Meter.REQUESTS, 2, 3600),))
        async with running_plane(rows, redis_url=redis_url) as plane:
            answers = [await plane.post(CALL, path=PATHS[shape]) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    is_openai = shape is WireShape.OPENAI_CHAT
    name = "x-ratelimit-{}-requests" if is_openai else "anthropic-ratelimit-requests-{}"
    told = [[answer.headers[name.format(what)] for what in ("limit", "remaining")] for answer in answers]
    assert told == [["2", "1"], ["2", "0"], ["2", "0"]]
    assert all(name.format("reset") in answer.headers for answer in answers)
    retry_after = int(answers[2].headers["retry-after"])
    assert (retry_after - 1) * 1000 < int(answers[2].headers["retry-after-ms"]) <= retry_after * 1000


@pytest.mark.parametrize("has_redis", [True, False])
async def test_a_refused_key_is_not_tried_again(has_redis: bool, redis_url: str) -> None:
    async def answer(call: VendorCall, wire: Wire) -> None:
        if call.header("authorization") == "Bearer sk-vendor-1":
            await wire.answer(b"{}", 401)
        else:
            await vendor.standard(call, wire)

    async with Vendor(answer=answer) as vendor:
        url = redis_url if has_redis else "redis://127.0.0.1:1/0"
        async with running_plane(catalog_of(vendor, keys=3), redis_url=url) as plane:
            answers = [await plane.post(CALL) for _ in range(9)]
            assert [answer.status for answer in answers] == [200] * 9
        used = [call.header("authorization") for call in vendor.calls]
        assert used.count("Bearer sk-vendor-1") == 1


async def test_a_host_that_fails_is_left_alone_and_the_caller_is_told_for_how_long(redis_url: str) -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b"{}", 500)

    async with Vendor(answer=answer) as vendor, running_plane(catalog_of(vendor), redis_url=redis_url) as plane:
        offer_breakers = plane.admission.breakers._changes["open", FailureClass.SERVER]
        for _ in range(2):  # the first is tried twice, since a 500 often does not come again
            assert (await plane.post(CALL)).status == 500
        await until(lambda: offer_breakers.value, "the breaker to open")
        refused = await plane.post(CALL)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert len(vendor.calls) == 3


async def test_a_host_keys_limit_sends_calls_to_the_next_key(redis_url: str) -> None:
    async with Vendor() as vendor:
        limit = nouns.RateLimit(nouns.RateLimitId(9), "vendor", (nouns.Rule(nouns.Meter.REQUESTS, 1, 3600),))
        rows = [
            replace(row, rate_limit_id=limit.id) if isinstance(row, nouns.HostKey) else row
            for row in catalog_of(vendor, keys=2)
        ]
        async with running_plane([limit, *rows], redis_url=redis_url) as plane:
            answers = [await plane.post(CALL) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 503]
        assert int(answers[2].headers["retry-after"]) > 1
        used = {call.header("authorization") for call in vendor.calls}
        assert used == {"Bearer sk-vendor-1", "Bearer sk-vendor-2"}


COST = (nouns.Rule(nouns.Meter.COST, 1_000_000, 3600),)


async def test_a_limit_of_cost_is_no_limit_where_nobody_knows_a_price(redis_url: str) -> None:
    async with Vendor() as vendor, running_plane(limited(vendor, rules=COST), redis_url=redis_url) as plane:
        refused = await plane.post(CALL)
        assert (refused.status, refused.json["error"]["code"]) == (403, "model_unpriced")
        assert refused.json["error"]["message"] == ModelUnpriced.text
        assert vendor.calls == []


async def test_a_call_under_a_limit_of_cost_goes_to_the_host_with_a_price(redis_url: str) -> None:
    async with Vendor() as first, Vendor() as second:
        rows = [
            PRICING,
            *(
                replace(row, pricing_id=PRICING.id) if isinstance(row, nouns.HostBinding) and row.host_id == 2 else row
                for row in limited(first, second, rules=COST)
            ),
        ]
        async with running_plane(rows, redis_url=redis_url) as plane:
            answer = await plane.post(CALL)
            assert (answer.status, answer.headers["x-relay-host"]) == (200, "vendor-2")
            assert first.calls == []
