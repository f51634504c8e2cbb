"""Calls as policies route them: real sockets, aliases, conversations, and what the process remembers of its hosts."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

from relay_contract.nouns import HostBindingId, Noun, Policy, Selection, WireShape
from tests.edge.conftest import until
from tests.edge.nouns import MODEL_ALIAS, POLICY
from tests.edge.plane import AUTHORIZED, Plane, catalog_of, running_plane
from tests.edge.vendor import Vendor, VendorCall, Wire

FIRST, SECOND = HostBindingId(1), HostBindingId(2)


def with_policy(rows: list[Noun], **columns: Any) -> list[Noun]:
    return [replace(POLICY, **columns) if isinstance(row, Policy) else row for row in rows]


def conversation(number: int, turns: int) -> dict[str, Any]:
    """The same beginning for one number, longer with each turn."""
    messages = [{"role": ("user", "assistant")[turn % 2], "content": f"{number}.{turn}"} for turn in range(turns)]
    return {"model": "demo-gpt", "messages": messages}


async def test_an_alias_is_served_and_listed_as_what_it_is() -> None:
    async with Vendor() as vendor, running_plane([*catalog_of(vendor), MODEL_ALIAS]) as plane:
        answer = await plane.post(conversation(1, 1) | {"model": "demo-latest"})
        assert (answer.status, answer.headers["x-relay-model"]) == (200, "demo-gpt")
        assert vendor.calls[0].json["model"] == "gpt-x"
        assert [(each.requested_model, each.model) for each in plane.served] == [("demo-latest", "demo-gpt")]
        caller = await plane.caller()
        await caller.send(f"GET /v1/models HTTP/1.1\r\nHost: r\r\n{AUTHORIZED}\r\n\r\n".encode())
        listed = (await caller.answer()).json["data"]
        assert [(each["id"], each["owned_by"]) for each in listed] == [("demo-gpt", "demo"), ("demo-latest", "demo")]


async def test_a_growing_conversation_stays_with_one_host_key() -> None:
    async with Vendor() as vendor:
        rows = with_policy(catalog_of(vendor, keys=3), keeps_affinity=True)
        async with running_plane(rows) as plane:
            for turns in (1, 3, 5):
                for number in range(20):
                    assert (await plane.post(conversation(number, turns))).status == 200
    keys = [call.header("authorization") for call in vendor.calls]
    assert keys[:20] == keys[20:40] == keys[40:]
    assert len(set(keys)) == 3


async def test_a_conversation_goes_on_with_another_key_when_its_own_fails() -> None:
    refused: list[str | None] = []

    async def one_key_is_limited(call: VendorCall, wire: Wire) -> None:
        if call.header("authorization") == "Bearer sk-vendor-2":
            refused.append(call.header("authorization"))
            await wire.answer(b"{}", 429)
        else:
            await wire.answer(b'{"choices":[]}')

    async with (
        Vendor(answer=one_key_is_limited) as vendor,
        running_plane(with_policy(catalog_of(vendor, keys=3), keeps_affinity=True)) as plane,
    ):
        answers = [await plane.post(conversation(number, 1)) for number in range(20)]
    assert {answer.status for answer in answers} == {200}
    assert sorted({answer.headers["x-relay-attempts"] for answer in answers}) == ["1", "2"]
    assert len(refused) == sum(answer.headers["x-relay-attempts"] == "2" for answer in answers)


def side_by_side(*vendors: Vendor, selection: Selection) -> list[Noun]:
    """Vendors whose bindings have the same priority."""
    rows = with_policy(catalog_of(*vendors), selection=selection)
    return [replace(row, priority=0) if hasattr(row, "upstream_name") else row for row in rows]  # type: ignore[call-arg, type-var]  # a binding


async def test_calls_in_flight_are_counted_for_each_host_and_given_back() -> None:
    go_on = asyncio.Event()

    async def slowly(_call: VendorCall, wire: Wire) -> None:
        await go_on.wait()
        await wire.answer(b'{"choices":[]}')

    async with (
        Vendor(answer=slowly) as one,
        Vendor(keys=("sk-vendor-2",), answer=slowly) as two,
        running_plane(side_by_side(one, two, selection=Selection.LEAST_BUSY)) as plane,
    ):
        tasks = []
        for started in range(1, 5):
            tasks.append(asyncio.create_task(plane.post(conversation(started, 1))))
            await until(lambda made=started: len(one.calls) + len(two.calls) == made, "the call at a host")
        load = plane.inference.load
        assert [load.in_flight(FIRST), load.in_flight(SECOND)] == [2, 2]
        tasks.pop().cancel()  # its caller leaves
        plane.swap(side_by_side(one, two, selection=Selection.LEAST_BUSY))
        go_on.set()
        await asyncio.gather(*tasks)
    assert [load.in_flight(FIRST), load.in_flight(SECOND)] == [0, 0]


async def measured(plane: Plane) -> list[bool]:
    load = plane.inference.load
    return [load.seconds(FIRST) is not None, load.seconds(SECOND) is not None]


async def test_each_host_is_measured_before_one_is_preferred_and_gone_ones_are_forgotten() -> None:
    async def fail(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b"{}", 500)

    async with Vendor(answer=fail) as failing, Vendor(keys=("sk-vendor-2",)) as good:
        rows = side_by_side(failing, good, selection=Selection.LATENCY)
        async with running_plane(rows) as plane:
            first = await plane.post(conversation(1, 1))
            assert (first.status, first.headers["x-relay-attempts"]) == (200, "3")  # the failing one has one key only
            assert await measured(plane) == [True, True]
            for number in range(5):
                answer = await plane.post(conversation(number, 1))
                assert (answer.status, answer.headers["x-relay-attempts"]) == (200, "1")
            assert len(failing.calls) == 2
            left = [row for row in rows if getattr(row, "upstream_name", None) is None or row.id != FIRST]
            plane.swap(left)
            await plane.post(conversation(9, 1))
            assert await measured(plane) == [False, True]


async def test_a_call_that_a_host_cannot_be_told_speaks_not_against_it() -> None:
    async with Vendor(WireShape.ANTHROPIC_MESSAGES) as vendor, running_plane(catalog_of(vendor)) as plane:
        refused = await plane.post(conversation(1, 1) | {"n": 2})
        assert refused.status == 400
        assert json.loads(refused.body)["error"]["param"] == "n"
        assert vendor.calls == []
        assert await measured(plane) == [False, False]
        assert plane.inference.load.in_flight(FIRST) == 0
