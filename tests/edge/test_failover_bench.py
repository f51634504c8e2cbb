"""FailoverBench's catalogue v0.1, scored by its own rules (scenarios/catalogue.yaml, METHODOLOGY.md, read 2026-11): one
host with one key, the model that fails and a fallback model at that host. Times are milliseconds instead of seconds.

| verdict | |
|---|---|
| pass | the caller has the whole answer (S13: a clean error), and every check is clean |
| partial | the same, with an advisory check that is not |
| safe | no answer, but a clean error in time, and every required check is clean |
| fail | anything else |

S15 goes by the clock of its breaker: `test_breakers.py` plays it second by second, here it is asked who serves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from relay_contract import nouns
from relay_contract.nouns import Fallback, FallbackCondition
from tests.edge.fault_vendor import (
    GARBLED,
    OPENAI,
    SAID,
    TEXT,
    Fault,
    healthy,
    refusal,
    reset,
    silent,
    slow_to_speak,
    status,
    streaming,
)
from tests.edge.nouns import BINDING, MODEL, POLICY
from tests.edge.plane import AUTHORIZED, Plane, catalog_of, running_plane
from tests.edge.vendor import Vendor, VendorCall, Wire

SPARE = replace(MODEL, id=nouns.ModelId(2), name="fb-ok")
CALL = {
    "model": "demo-gpt", "messages": [{"role": "user", "content": "hi"}],
    "stream": True, "stream_options": {"include_usage": True},
}  # fmt: skip
WAIT_MS = 30


@dataclass
class Cell:
    """One call, as its caller and as the provider saw it."""

    text: str = ""
    is_success: bool = False  # by the protocol: a 200, no error event, the mark of the end
    model: str = ""
    has_usage: bool = False
    primary: list[float] = field(default_factory=list)  # when the model asked for was tried
    fallback: int = 0


Check = Callable[[Cell], bool]


@dataclass(frozen=True)
class Scenario:
    """`faults` of the primary, one for each try, the last repeated. `go_on` is set when the caller has something."""

    faults: Callable[[asyncio.Event], list[Fault]]
    required: tuple[Check, ...] = ()
    advisory: tuple[Check, ...] = ()
    when: FallbackCondition = FallbackCondition.ANY_FAILURE
    is_error_ideal: bool = False
    spare: Fault = healthy
    timeouts: dict[str, int] = field(default_factory=dict)


async def rejects_prefill(said: Any, shape: Any, call: VendorCall, wire: Wire) -> None:
    fault = refusal("prefill") if call.json["messages"][-1]["role"] == "assistant" else healthy
    await fault(said, shape, call, wire)


def tries(least: int, most: int) -> Check:
    return lambda cell: least <= len(cell.primary) <= most


def is_no_truncated_success(cell: Cell) -> bool:
    return not cell.is_success or cell.text == TEXT


def reports_who_served(cell: Cell) -> bool:
    return cell.fallback == 0 or cell.model == "fb-ok"


def waits(cell: Cell) -> bool:
    return len(cell.primary) > 1 and cell.primary[1] - cell.primary[0] >= (WAIT_MS - 1) / 1000


def cut(go_on: asyncio.Event) -> list[Fault]:
    return [streaming("greeting", "words", go_on, then="cut")]


SCENARIOS = {
    "S01": Scenario(
        lambda _: [status(429, f"retry-after-ms: {WAIT_MS}"), healthy],
        required=(tries(0, 2),),
        advisory=(tries(2, 9), waits),
    ),
    "S02": Scenario(lambda _: [status(429)], required=(tries(0, 4),)),
    "S03": Scenario(lambda _: [status(500), healthy], advisory=(tries(2, 9),)),
    "S04": Scenario(lambda _: [status(503)], required=(tries(0, 6),)),
    "S05": Scenario(lambda _: [reset, healthy]),
    "S06": Scenario(lambda _: [silent], advisory=(tries(0, 1),), timeouts={"first_token_timeout_ms": 50}),
    "S07": Scenario(
        lambda _: [slow_to_speak],
        advisory=(lambda cell: cell.fallback > 0,),
        timeouts={"first_token_timeout_ms": 50},
    ),
    "S08": Scenario(cut, required=(is_no_truncated_success,)),
    "S09": Scenario(
        lambda go_on: [streaming("greeting", "words", go_on, then="stall")],
        required=(is_no_truncated_success, tries(0, 1)),  # a second silence would be past its 45 seconds
        timeouts={"idle_timeout_ms": 50},
    ),
    "S10": Scenario(
        lambda _: [streaming("greeting", GARBLED, "words", "finish", "usage", "end")],
        required=(is_no_truncated_success,),
        advisory=(lambda cell: cell.text == TEXT,),
    ),
    "S11": Scenario(
        lambda _: [streaming("greeting", "words", "finish", "usage")], advisory=(lambda cell: cell.has_usage,)
    ),
    "S12": Scenario(lambda _: [refusal("context")], required=(tries(1, 1),), when=FallbackCondition.CONTEXT_LENGTH),
    "S13": Scenario(lambda _: [refusal("filter")], required=(tries(1, 1),), is_error_ideal=True),
    "S14": Scenario(cut, required=(is_no_truncated_success,), spare=rejects_prefill),
    "S15": Scenario(lambda _: [status(503), status(503), status(503), healthy]),
    "S16": Scenario(
        lambda _: [status(503)],
        required=(tries(0, 6), reports_who_served),
        advisory=(lambda cell: cell.has_usage,),
    ),
}
STREAMS_THAT_BREAK = {"S08", "S09", "S14"}


def verdict(scenario: Scenario, cell: Cell) -> str:
    if cell.is_success and cell.text != TEXT and not scenario.is_error_ideal:
        return "fail"
    if not all(check(cell) for check in scenario.required):
        return "fail"
    if cell.is_success == scenario.is_error_ideal:
        return "partial" if cell.is_success else "safe"
    return "pass" if all(check(cell) for check in scenario.advisory) else "partial"


async def play(scenario: Scenario, hold_seconds: int) -> Cell:
    cell, go_on = Cell(), asyncio.Event()
    if hold_seconds:
        go_on.set()  # the caller gets nothing until the end
    faults = scenario.faults(go_on)

    async def wall(call: VendorCall, wire: Wire) -> None:
        if call.json["model"] == "fb-ok":
            cell.fallback += 1
            await scenario.spare(_said("fb-ok"), OPENAI, call, wire)
            return
        cell.primary.append(asyncio.get_running_loop().time())
        fault = faults.pop(0) if len(faults) > 1 else faults[0]
        await fault(_said("gpt-x"), OPENAI, call, wire)

    async with Vendor(OPENAI, answer=wall) as vendor:
        rows = [
            *catalog_of(vendor, **scenario.timeouts),
            SPARE,
            replace(BINDING, id=nouns.HostBindingId(9), model_id=SPARE.id, upstream_name="fb-ok"),
            replace(
                POLICY,
                fallbacks=(Fallback(("demo-gpt",), frozenset({scenario.when}), ("fb-ok",)),),
                hold_seconds=hold_seconds,
            ),
        ]
        async with running_plane(rows) as plane:
            await _call(plane, cell, go_on)
            assert (await plane.post(CALL | {"model": "fb-ok"})).status == 200  # alive after
    return cell


def _said(model: str) -> Any:
    said = SAID[OPENAI]
    renamed = {
        name: getattr(said, name).replace(b"gpt-x", model.encode())
        for name in ("whole", "greeting", "finish", "usage", "end")
    }
    return replace(said, **renamed, words=tuple(word.replace(b"gpt-x", model.encode()) for word in said.words))


async def _call(plane: Plane, cell: Cell, go_on: asyncio.Event) -> None:
    caller = await plane.caller()
    await caller.post(CALL, AUTHORIZED)
    status_code, headers = await caller.head()
    go_on.set()
    if "content-length" in headers:
        body, is_whole = await caller.reader.readexactly(int(headers["content-length"])), True
    else:
        body, is_whole = await caller.chunks()
    await caller.close()
    events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
    documents = [json.loads(event) for event in events]
    cell.is_success = (
        status_code == 200 and is_whole and b"data: [DONE]" in body and not any("error" in each for each in documents)
    )
    for document in documents:
        cell.has_usage |= bool(document.get("usage"))
        cell.model = document.get("model", cell.model)
        cell.text += "".join(choice["delta"].get("content") or "" for choice in document.get("choices", ()))


@pytest.mark.parametrize("name", SCENARIOS)
async def test_as_streams_pass(name: str) -> None:
    """The three that break after their content end in a clean error: what a caller has cannot be taken back."""
    expected = "safe" if name in STREAMS_THAT_BREAK else "pass"
    cell = await play(SCENARIOS[name], 0)
    assert verdict(SCENARIOS[name], cell) == expected, cell


@pytest.mark.parametrize("name", SCENARIOS)
async def test_sixteen_of_sixteen_where_streams_are_held(name: str) -> None:
    cell = await play(SCENARIOS[name], 60)
    assert verdict(SCENARIOS[name], cell) == "pass", cell
