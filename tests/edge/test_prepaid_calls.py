"""Calls of a project that pays beforehand, to models and to endpoints, as their caller and the ledger see them."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import anthropic
import openai
import pytest

from relay_contract import nouns
from relay_contract.credits import MICRO
from relay_contract.errors import AcceptUnavailable
from relay_contract.nouns import Budget, Fallback, FallbackCondition, Noun, WireShape
from relay_contract.periods import Period
from relay_contract.redis import keys
from relay_edge.call_rows import CallToKeep
from relay_edge.token_callers import TokenCallers
from tests.edge.admitting import client
from tests.edge.conftest import until
from tests.edge.money import PREPAID, USERS_KEY, WALLET, held, open_money, purse
from tests.edge.nouns import APPLICATION, BINDING, MODEL, PRICING, PROJECT
from tests.edge.plane import Answer, catalog_of, running_plane
from tests.edge.target import StreamTarget
from tests.edge.test_inference import CALL, PATHS
from tests.edge.test_relay_pipeline import OWN, ROWS, running_relay
from tests.edge.test_sdks import anthropic_client, openai_client
from tests.edge.test_stream_calls import running_relay as running_streams
from tests.edge.tokens import AUDIENCE, ISSUER, USER_ID, claims, signing_key, written
from tests.edge.vendor import Vendor, VendorCall, Wire

SMALL = CALL | {"max_tokens": 16}
RICH = 10**12


def paid(*rows: Noun, **changes: Any) -> list[Noun]:
    """These rows with a price for everything and a project that pays beforehand."""
    found: list[Noun] = [PRICING]
    for row in rows:
        match row:
            case nouns.HostBinding():
                found.append(replace(row, pricing_id=PRICING.id))
            case nouns.Project():
                found.append(replace(PREPAID, **changes) if row.id == PREPAID.id else row)
            case nouns.Pricing():
                continue
            case _:
                found.append(row)
    return found


def details_of(answer: Answer, shape: WireShape) -> tuple[str, dict[str, Any]]:
    """Type and details of an error."""
    error = json.loads(answer.body)["error"]
    assert shape in PATHS
    return error["type"], error["details"]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_call_is_charged_what_it_cost(is_stream: bool, redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: RICH}, generation=3)
        async with Vendor() as vendor, running_plane(paid(*catalog_of(vendor)), redis_url=redis_url) as plane:
            assert (await plane.post(SMALL | {"stream": is_stream})).status == 200
            await until(lambda: bool(plane.served) and purse(connection, "w", WALLET).get("spent:3"), "the charge")
            row = json.loads(CallToKeep(plane.served[0]).encoded())
        fields = purse(connection, "w", WALLET)
        assert row["charge_microcredits"] == row["cost_nanousd"] == fields["spent:3"] == fields["used"] > 0
        assert (row["payer_id"], row["generation"], held(fields)) == (WALLET, 3, 0)


async def test_a_user_who_pays_is_charged_the_mark_up_and_nobody_else_is(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {300: RICH})
        async with Vendor() as vendor:
            rows = paid(*catalog_of(vendor), markup_ppm=500_000, terms_id=nouns.TermsId(6))
            rows = [USERS_KEY if isinstance(row, nouns.RelayKey) else row for row in rows]
            async with running_plane(rows, redis_url=redis_url) as plane:
                assert (await plane.post(SMALL)).status == 200
                await until(lambda: bool(purse(connection, "w", 300).get("spent:1")), "the charge")
                row = json.loads(CallToKeep(plane.served[0]).encoded())
        assert row["charge_microcredits"] == purse(connection, "w", 300)["spent:1"]
        assert row["markup_microcredits"] == row["charge_microcredits"] - row["cost_nanousd"] > 0
        assert (row["payer_id"], row["terms_id"]) == (300, 6)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (WireShape.OPENAI_CHAT, "insufficient_quota"),
        (WireShape.OPENAI_RESPONSES, "insufficient_quota"),
        (WireShape.ANTHROPIC_MESSAGES, "billing_error"),
    ],
)
async def test_too_few_credits_are_told_in_the_callers_shape(shape: WireShape, kind: str, redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: 5})
        async with Vendor(shape) as vendor, running_plane(paid(*catalog_of(vendor)), redis_url=redis_url) as plane:
            answer = await plane.post(SMALL | {"input": "hi"}, path=PATHS[shape])
            assert (answer.status, answer.headers["x-should-retry"]) == (402, "false")
            assert "retry-after" not in answer.headers
            found, details = details_of(answer, shape)
            assert found == kind
            needed = details.pop("needed_microcredits")
            assert needed > 5
            assert details == {"wallet": WALLET, "held_microcredits": 0, "available_microcredits": 5}
            row = json.loads(CallToKeep(plane.served[0]).encoded())
            assert (row["charge_microcredits"], row["error"], row["generation"]) == (0, "insufficient_credits", None)
        assert vendor.calls == []


async def test_a_host_that_fails_costs_nothing(redis_url: str) -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b"{}", 400)

    with client(redis_url) as connection:
        open_money(connection, {WALLET: RICH})
        async with (
            Vendor(answer=answer) as vendor,
            running_plane(paid(*catalog_of(vendor)), redis_url=redis_url) as plane,
        ):
            assert (await plane.post(SMALL)).status == 400
            await until(lambda: held(purse(connection, "w", WALLET)) == 0, "the settlement")
            assert purse(connection, "w", WALLET)["used"] == 0


async def test_without_money_in_redis_a_call_is_a_503(redis_url: str) -> None:
    async with Vendor() as vendor, running_plane(paid(*catalog_of(vendor)), redis_url=redis_url) as plane:
        answer = await plane.post(SMALL)
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        assert json.loads(answer.body)["error"]["code"] == "unavailable"


async def test_who_pays_beforehand_reaches_no_model_without_a_price(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: RICH})
    async with Vendor() as vendor:
        rows = [PREPAID if isinstance(row, nouns.Project) else row for row in catalog_of(vendor)]
        async with running_plane(rows, redis_url=redis_url) as plane:
            answer = await plane.post(SMALL)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (403, "model_unpriced")


async def test_an_answer_that_is_given_again_is_charged_once(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: RICH})
        async with Vendor() as vendor, running_plane(paid(*catalog_of(vendor)), redis_url=redis_url) as plane:
            first = await plane.post(SMALL, "Idempotency-Key: once")
            await until(lambda: bool(purse(connection, "w", WALLET).get("spent:1")), "the charge")
            spent = purse(connection, "w", WALLET)["used"]
            again = await plane.post(SMALL, "Idempotency-Key: once")
            assert (first.status, again.status, len(vendor.calls)) == (200, 200, 1)
            await until(lambda: not len(plane.admission.queue.settlements), "whatever is settled")
            assert purse(connection, "w", WALLET)["used"] == spent
            assert json.loads(CallToKeep(plane.served[1]).encoded())["charge_microcredits"] == 0


@pytest.mark.parametrize("shape", [WireShape.OPENAI_CHAT, WireShape.ANTHROPIC_MESSAGES])
async def test_a_whole_answer_says_what_it_was_charged(shape: WireShape, redis_url: str) -> None:
    """In the caller's own shape and translated; a metered caller is told as well, a stream and an error are not."""
    async with Vendor(shape) as vendor, running_plane(paid(*catalog_of(vendor))) as plane:
        plane.swap([PROJECT if isinstance(row, nouns.Project) else row for row in paid(*catalog_of(vendor))])
        whole = await plane.post(SMALL)
        streamed = await plane.post(SMALL | {"stream": True})
        wrong = await plane.post(SMALL | {"model": "nothing"})
        row = json.loads(CallToKeep(plane.served[0]).encoded())
    assert whole.status == 200
    assert int(whole.headers["x-relay-charge"]) == row["charge_microcredits"] == row["cost_nanousd"] > 0
    assert "x-relay-charge" not in streamed.headers | wrong.headers


async def test_a_user_is_told_the_charge_with_its_mark_up(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {300: RICH})
        async with Vendor() as vendor:
            rows = paid(*catalog_of(vendor), markup_ppm=500_000, terms_id=nouns.TermsId(6))
            rows = [USERS_KEY if isinstance(row, nouns.RelayKey) else row for row in rows]
            async with running_plane(rows, redis_url=redis_url) as plane:
                told = int((await plane.post(SMALL)).headers["x-relay-charge"])
                await until(lambda: purse(connection, "w", 300).get("spent:1") == told, "the charge that was told")
                row = json.loads(CallToKeep(plane.served[0]).encoded())
        assert (row["charge_microcredits"], row["markup_microcredits"]) == (told, told - row["cost_nanousd"])


async def test_many_replays_at_once_are_charged_once(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: RICH})
        async with Vendor() as vendor, running_plane(paid(*catalog_of(vendor)), redis_url=redis_url) as plane:
            first = await plane.post(SMALL, "Idempotency-Key: batch")
            again = await asyncio.gather(*[plane.post(SMALL, "Idempotency-Key: batch") for _ in range(32)])
            assert ({each.status for each in again}, len(vendor.calls)) == ({200}, 1)
            assert {each.headers["x-relay-charge"] for each in again} == {"0"}
            await until(lambda: len(plane.served) == 33 and held(purse(connection, "w", WALLET)) == 0, "every end")
            rows = [json.loads(CallToKeep(each).encoded()) for each in plane.served]
        spent = purse(connection, "w", WALLET)["used"]
        assert spent == int(first.headers["x-relay-charge"]) == sum(row["charge_microcredits"] for row in rows) > 0


async def test_a_count_of_tokens_is_charged_nothing(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: 0})  # not even a first micro-credit is asked for
        async with Vendor() as vendor, running_plane(paid(*catalog_of(vendor)), redis_url=redis_url) as plane:
            assert (await plane.post(CALL, path="/v1/messages/count_tokens")).status == 200
            row = json.loads(CallToKeep(plane.served[0]).encoded())
        assert (row["charge_microcredits"], row["usage_source"]) == (0, "none")
        assert purse(connection, "w", WALLET)["used"] == 0


async def test_a_failover_to_a_dearer_model_stays_within_what_was_held(redis_url: str) -> None:
    seen: dict[str, int] = {}

    with client(redis_url) as connection:

        async def answer(call: VendorCall, wire: Wire) -> None:
            if call.json["model"] == BINDING.upstream_name:
                await wire.answer(b"{}", 500)
                return
            seen.update(held=held(purse(connection, "w", WALLET)))
            await vendor.standard(call, wire)

        dear_price = replace(
            PRICING,
            id=nouns.PricingId(2),
            rates=tuple(replace(rate, nanousd_per_million=rate.nanousd_per_million * 50) for rate in PRICING.rates),
        )
        dear = replace(MODEL, id=nouns.ModelId(2), name="dear")
        open_money(connection, {WALLET: RICH})
        async with Vendor(answer=answer) as vendor:
            rows = paid(*catalog_of(vendor))
            behind = (Fallback((MODEL.name,), (FallbackCondition.ANY_FAILURE,), ("dear",)),)
            rows = [replace(row, fallbacks=behind) if isinstance(row, nouns.Policy) else row for row in rows]
            bound = replace(
                BINDING,
                id=nouns.HostBindingId(2),
                model_id=dear.id,
                upstream_name="dear",
                pricing_id=dear_price.id,
                wire_shape=vendor.shape,
            )
            async with running_plane([*rows, dear, dear_price, bound], redis_url=redis_url) as plane:
                told = await plane.post(SMALL)
                assert (told.status, told.headers["x-relay-model"]) == (200, "dear")
                await until(lambda: held(purse(connection, "w", WALLET)) == 0, "the settlement")
        assert 0 < int(told.headers["x-relay-charge"]) == purse(connection, "w", WALLET)["used"] <= seen["held"]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (WireShape.OPENAI_CHAT, "insufficient_quota"),
        (WireShape.OPENAI_RESPONSES, "insufficient_quota"),
        (WireShape.ANTHROPIC_MESSAGES, "billing_error"),
    ],
)
async def test_a_budget_that_is_spent_is_told_in_the_callers_shape(shape: WireShape, kind: str, redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: RICH})
        async with Vendor(shape) as vendor:
            rows = paid(*catalog_of(vendor), budget=Budget(7, Period.MONTH))
            async with running_plane(rows, redis_url=redis_url) as plane:
                answer = await plane.post(SMALL | {"input": "hi"}, path=PATHS[shape])
    found, details = details_of(answer, shape)
    assert (answer.status, found, answer.headers["x-should-retry"]) == (402, kind, "false")
    assert 0 < int(answer.headers["retry-after"]) <= 31 * 86_400
    assert details.pop("needed_microcredits") > 7
    assert details.pop("reset_at") > 0
    assert details == {"scope": "project", "period": "month", "limit_microcredits": 7, "used_microcredits": 0}
    assert vendor.calls == []


async def test_the_vendors_sdks_raise_what_they_raise_at_their_own_vendors(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: 5})
    async with Vendor() as vendor, running_plane(paid(*catalog_of(vendor)), redis_url=redis_url) as plane:
        talk: Any = [{"role": "user", "content": "hi"}]
        async with openai_client(plane) as spoken, anthropic_client(plane) as other:
            with pytest.raises(openai.APIStatusError) as poor:
                await spoken.chat.completions.create(model="demo-gpt", messages=talk)
            assert (poor.value.status_code, poor.value.code, poor.value.type) == (
                402,
                "insufficient_credits",
                "insufficient_quota",
            )
            with pytest.raises(anthropic.APIStatusError) as broke:
                await other.messages.create(model="demo-gpt", messages=talk, max_tokens=9)
            assert (broke.value.status_code, broke.value.type) == (402, "billing_error")
            plane.swap([PREPAID if isinstance(row, nouns.Project) else row for row in catalog_of(vendor)])
            with pytest.raises(openai.PermissionDeniedError) as unpriced:
                await spoken.responses.create(model="demo-gpt", input="hi")
            assert unpriced.value.code == "model_unpriced"
            with pytest.raises(anthropic.PermissionDeniedError) as denied:
                await other.messages.create(model="demo-gpt", messages=talk, max_tokens=9)
            assert denied.value.type == "permission_error"


# --- users of applications ---


async def test_a_users_call_is_paid_by_the_pool_then_by_the_user_then_by_nobody(redis_url: str) -> None:
    """By access token: the share of the pool is a month's, and the user's wallet bears the mark-up."""
    pool, wallet = int(PREPAID.live_pool_id), claims().wallet_id
    with client(redis_url) as connection:
        open_money(connection, {pool: RICH, wallet: RICH})
        async with Vendor() as vendor:
            first = paid(*catalog_of(vendor), pool_cap_microcredits=RICH, markup_ppm=200_000, terms_id=nouns.TermsId(3))
            rows = [*first, signing_key(), APPLICATION]
            async with running_plane(rows, redis_url=redis_url, tokens=TokenCallers(ISSUER, AUDIENCE)) as plane:
                caller = await plane.caller()
                line = f"Authorization: Bearer {written(claims())}"

                async def ask() -> Answer:
                    await caller.post(SMALL, line)
                    return await caller.answer()

                assert (await ask()).status == 200
                await until(lambda: held(purse(connection, "w", pool)) == 0, "the first settlement")
                share = purse(connection, "c", f"{pool}:{USER_ID}")
                assert share["used"] == purse(connection, "w", pool)["used"] > 0
                connection.hset(keys.purse("c", f"{pool}:{USER_ID}"), "used", RICH)  # the month's share is spent
                assert (await ask()).status == 200
                await until(lambda: bool(purse(connection, "w", wallet).get("spent:1")), "the second settlement")
                connection.hset(keys.purse("w", str(wallet)), "granted", purse(connection, "w", wallet)["used"])
                refused = await ask()
                served = [json.loads(CallToKeep(each).encoded()) for each in plane.served]
    assert (refused.status, json.loads(refused.body)["error"]["details"]["wallet"]) == (402, wallet)
    assert [row["payer_id"] for row in served[:2]] == [pool, wallet]
    assert [bool(row["markup_microcredits"]) for row in served] == [False, True, False]
    assert {(row["application_id"], row["user_id"]) for row in served} == {(APPLICATION.id, USER_ID)}


# --- endpoints ---


async def test_an_answered_stream_is_charged_as_one_delivery(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: 3 * MICRO}, generation=2)
        async with StreamTarget() as target:
            rows = paid(PROJECT, *target.rows())
            async with running_streams(redis_url, *rows) as relay:
                first = await relay.post()
                await relay.end()
                await until(lambda: purse(connection, "w", WALLET).get("spent:2") == MICRO, "the charge")
                connection.hset(keys.purse("w", str(WALLET)), "granted", MICRO)
                second = await relay.post()
                [accepted] = relay.committed
    assert (first.status, second.status, len(target.calls)) == (200, 402, 1)
    [delivery] = accepted.deliveries
    assert (delivery.credits, delivery.generation) == (MICRO, 2)


async def test_a_budget_of_a_project_refuses_a_call_to_an_endpoint(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: 100 * MICRO})
        async with running_relay(redis_url, rows=paid(*ROWS, budget=Budget(2 * MICRO, Period.DAY))) as relay:
            assert (await relay.post(OWN)).status == 202
            owner = f"project:{PREPAID.id}"
            await until(lambda: held(purse(connection, "b", owner)) == 0, "the settlement")
            spent = purse(connection, "b", owner)["used"]
            answer = await relay.post(OWN)
    document = json.loads(answer.body)
    assert (answer.status, document["error"]) == (402, "budget_exceeded")
    assert document["details"]["used_microcredits"] == spent == 2 * MICRO
    assert 0 < int(answer.headers["retry-after"]) <= 86_400


async def test_deliveries_are_paid_when_they_are_accepted(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: 100 * MICRO}, generation=2)
        async with running_relay(redis_url, rows=paid(*ROWS)) as relay:
            answer = await relay.post(OWN)
            assert answer.status == 202
            await until(lambda: bool(purse(connection, "w", WALLET).get("spent:2")), "the charge")
            [accepted] = relay.book.committed
        rows = accepted.deliveries
        assert {row.generation for row in rows} == {2}
        assert purse(connection, "w", WALLET)["used"] == sum(row.credits for row in rows) == len(rows) * MICRO


async def test_a_call_to_an_endpoint_that_nobody_can_pay_is_not_accepted(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: MICRO - 1})
        async with running_relay(redis_url, rows=paid(*ROWS)) as relay:
            answer = await relay.post(OWN)
            document = json.loads(answer.body)
            assert (answer.status, document["error"]) == (402, "insufficient_credits")
            assert document["details"]["available_microcredits"] == MICRO - 1
            assert relay.book.committed == []


async def test_what_was_not_committed_is_not_charged(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: 100 * MICRO})
        async with running_relay(redis_url, rows=paid(*ROWS)) as relay:
            relay.book.commits.append(AcceptUnavailable())
            assert (await relay.post(OWN)).status == 503
            await until(lambda: held(purse(connection, "w", WALLET)) == 0, "the settlement")
            assert purse(connection, "w", WALLET)["used"] == 0


async def test_deliveries_of_a_metered_project_know_no_generation(redis_url: str) -> None:
    async with running_relay(redis_url) as relay:
        assert (await relay.post(OWN)).status == 202
        [accepted] = relay.book.committed
    assert {row.generation for row in accepted.deliveries} == {None}
