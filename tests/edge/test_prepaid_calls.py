"""Calls of a project that pays beforehand, to models and to endpoints, as their caller and the ledger see them."""

import json
from dataclasses import replace
from typing import Any

import pytest

from relay_contract import nouns
from relay_contract.credits import MICRO
from relay_contract.errors import AcceptUnavailable
from relay_contract.nouns import Noun, WireShape
from relay_edge.call_rows import CallToKeep
from tests.edge.admitting import client
from tests.edge.conftest import until
from tests.edge.money import PREPAID, USERS_KEY, WALLET, held, open_money, purse
from tests.edge.nouns import PRICING
from tests.edge.plane import Answer, catalog_of, running_plane
from tests.edge.test_inference import CALL, PATHS
from tests.edge.test_relay_pipeline import OWN, ROWS, running_relay
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


# --- endpoints ---


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
