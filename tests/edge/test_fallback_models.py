"""Fallback models of a policy: which failure reaches them, who is named, and whose error the caller hears of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from relay_contract import nouns
from relay_contract.nouns import Fallback, FallbackCondition, WireShape
from relay_contract.traffic import FailureClass
from tests.edge.fault_vendor import ANTHROPIC, OPENAI, Fault, fault_vendor, healthy, refusal, silent, status
from tests.edge.nouns import BINDING, HOST, MODEL, POLICY
from tests.edge.plane import Plane, catalog_of, host_key, running_plane
from tests.edge.test_failover import ROUTES, USED, ask, error_of, failures, text_of
from tests.edge.vendor import Vendor

ANY, CONTEXT, FILTER = FallbackCondition
SPARE = replace(MODEL, id=nouns.ModelId(2), name="spare")


@asynccontextmanager
async def falling_back(
    host: WireShape, fault: Fault, *when: FallbackCondition, spare: Fault = healthy, **timeouts: int
) -> AsyncIterator[tuple[Plane, Vendor, Vendor]]:
    """A plane on which `spare` stands behind `demo-gpt`."""
    async with fault_vendor(host, fault) as first, fault_vendor(host, spare) as second:
        host_id = nouns.HostId(9)
        rows = [
            *catalog_of(first, **timeouts),
            replace(HOST, id=host_id, slug="spare-host", base_url=second.url, **timeouts),  # type: ignore[arg-type]  # timeouts
            host_key(9, 9, "sk-vendor-3"),
            SPARE,
            replace(BINDING, id=nouns.HostBindingId(9), model_id=SPARE.id, host_id=host_id, wire_shape=host),
            replace(POLICY, fallbacks=(Fallback(("demo-gpt",), when, ("spare",)),)),
        ]
        async with running_plane(rows) as plane:
            yield plane, first, second


@ROUTES
@pytest.mark.parametrize(
    ("fault", "when", "attempts"),
    [
        (status(503), ANY, 2),
        (status(401), ANY, 2),
        (status(500), ANY, 3),
        (status(429), ANY, 2),
        (silent, ANY, 2),
        (refusal("context"), CONTEXT, 2),
    ],
    ids=["503", "401", "500", "429", "silent", "context"],
)
async def test_the_fallback_answers_and_is_named(
    shape: WireShape, host: WireShape, fault: Fault, when: FallbackCondition, attempts: int
) -> None:
    async with falling_back(host, fault, when, first_token_timeout_ms=50) as (plane, _, spare):
        answer = await ask(plane, shape)
        assert (answer.status, text_of(shape, answer.body)) == (200, "one two three")
        assert (answer.headers["x-relay-model"], answer.headers["x-relay-host"]) == ("spare", "spare-host")
        assert answer.headers["x-relay-attempts"] == str(attempts)
        record = plane.served[-1]
        assert (record.model, record.host, record.usage) == ("spare", "spare-host", USED)
        assert len(spare.calls) == 1


async def test_a_filtered_prompt_goes_to_the_fallback_that_is_there_for_it() -> None:
    async with falling_back(OPENAI, refusal("filter"), FILTER) as (plane, filtering, _):
        answer = await ask(plane, OPENAI)
        assert (answer.status, answer.headers["x-relay-model"]) == (200, "spare")
        assert len(filtering.calls) == 1


@ROUTES
@pytest.mark.parametrize(
    ("fault", "when"),
    [(refusal("context"), ANY), (refusal("prefill"), ANY), (status(503), CONTEXT), (status(404), CONTEXT)],
    ids=["context", "prefill", "503", "404"],
)
async def test_a_fallback_for_something_else_is_not_tried(
    shape: WireShape, host: WireShape, fault: Fault, when: FallbackCondition
) -> None:
    async with falling_back(host, fault, when) as (plane, first, spare):
        answer = await ask(plane, shape)
        assert answer.status >= 400
        assert answer.headers["x-relay-model"] == "demo-gpt"
        assert (len(first.calls), len(spare.calls)) == (1, 0)


@ROUTES
@pytest.mark.parametrize(
    ("fault", "told", "when"),
    [(status(503), FailureClass.OVERLOADED, ANY), (refusal("context"), FailureClass.CONTEXT_LENGTH, CONTEXT)],
    ids=["503", "context"],
)
async def test_a_fallback_that_rejects_prefill_hides_nothing(
    shape: WireShape, host: WireShape, fault: Fault, told: FailureClass, when: FallbackCondition
) -> None:
    """FailoverBench S14: its 400 is about that model, and the caller hears of the model that was asked for."""
    async with falling_back(host, fault, when, spare=refusal("prefill")) as (plane, _, spare):
        answer = await ask(plane, shape)
        assert len(spare.calls) == 1
        assert b"prefill" not in answer.body
        assert b"trailing" not in answer.body
        assert (answer.headers["x-relay-model"], answer.headers["x-relay-attempts"]) == ("demo-gpt", "2")
        error_of(shape, answer.json)
        assert failures(plane) == [told, FailureClass.CALLER]
        assert plane.served[-1].error == told.value


async def test_a_short_wait_comes_before_another_model() -> None:
    served = []

    async def limited_once(said: object, own: WireShape, call: object, wire: object) -> None:
        served.append(1)
        fault = healthy if len(served) > 1 else status(429, "retry-after-ms: 20")
        await fault(said, own, call, wire)  # type: ignore[arg-type]  # as they came

    async with falling_back(ANTHROPIC, limited_once, ANY) as (plane, _, spare):
        answer = await ask(plane, ANTHROPIC)
        assert (answer.status, answer.headers["x-relay-model"], answer.headers["x-relay-attempts"]) == (
            200, "demo-gpt", "2",
        )  # fmt: skip
        assert spare.calls == []
