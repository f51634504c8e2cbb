"""Which targets a call is for: conditions, ordering keys and disabled targets."""

import json
from typing import Any

import pytest

from relay_contract.errors import EndpointMisconfigured
from relay_contract.nouns import Conditions, DeliveryMode, Target, TargetRole
from relay_edge.fan_out import FanOut, plan
from relay_edge.prepared import PreparedEndpoints
from relay_edge.relay_call import RelayCall
from tests.edge.nouns import TARGET, numbered
from tests.edge.test_fan_out import call_to


def planned(*targets: Target, body: bytes = b"{}", headers: dict[str, str] | None = None, event: str = "") -> FanOut:
    call = call_to(*targets)
    call.body, call.headers, call.event_type = body, headers or {}, event
    return plan(call)


def wanting(document: Any, number: int = 1) -> Target:
    return numbered(TARGET, number, name=f"t{number}", conditions=Conditions(document))  # type: ignore[no-any-return]


LARGE = wanting({"path": "total", "gte": 100})
SHOP = wanting({"header": "x-shop", "is": "north"}, 2)
ORDERS = wanting({"event_type": ["order.*"]}, 3)
EACH = numbered(TARGET, 4, name="each")


@pytest.mark.parametrize(
    ("body", "headers", "event", "targets"),
    [
        (b'{"total": 100}', {"x-shop": "north"}, "order.paid", [1, 2, 3, 4]),
        (b'{"total": "100"}', {"x-shop": "south"}, "refund", [4]),
        (b"no JSON", {"x-shop": "north"}, "", [2, 4]),
        (b"[" * 5_000, {}, "order.", [3, 4]),
        (b"", {}, "", [4]),
    ],
)
def test_a_call_goes_to_targets_whose_conditions_it_meets(
    body: bytes, headers: dict[str, str], event: str, targets: list[int]
) -> None:
    fan_out = planned(LARGE, SHOP, ORDERS, EACH, body=body, headers=headers, event=event)
    assert [row.target_id for row in fan_out.queued] == targets
    assert fan_out.filtered_count == 4 - len(targets)


def test_a_call_may_be_for_nobody() -> None:
    fan_out = planned(LARGE)
    assert (fan_out.queued, fan_out.response, fan_out.filtered_count) == ((), None, 1)


def test_rules_are_read_once_for_a_snapshot() -> None:
    prepared, call = PreparedEndpoints(), call_to(LARGE)
    first = prepared.of(call.snapshot, call.route)
    assert prepared.of(call.snapshot, call.route) is first


def test_the_body_is_only_read_for_whom_it_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(RelayCall, "document", read.append)
    planned(SHOP, ORDERS, EACH, headers={"x-shop": "north"})
    assert read == []


@pytest.mark.parametrize(
    ("document", "headers", "reference", "key"),
    [
        ({"order": {"id": "a-1"}}, {}, "body:order.id", "a-1"),
        ({"order": {"id": 17}}, {}, "body:order.id", "17"),
        ({"order": {"id": 1.5}}, {}, "body:order.id", "1.5"),
        ({"order": {"id": True}}, {}, "body:order.id", "true"),
        ({"order": {"id": None}}, {}, "body:order.id", None),
        ({"order": {"id": ["a"]}}, {}, "body:order.id", None),
        ({"order": {"id": ""}}, {}, "body:order.id", None),
        ({}, {}, "body:order.id", None),
        ({}, {"x-order": "7"}, "header:X-Order", "7"),
        ({}, {}, "header:X-Order", None),
        ({"order": {"id": "x" * 255}}, {}, "body:order.id", "x" * 255),
    ],
)
def test_ordering_keys(document: Any, headers: dict[str, str], reference: str, key: str | None) -> None:
    target = numbered(TARGET, 1, ordering_key=reference)
    [row] = planned(target, body=json.dumps(document).encode(), headers=headers).queued
    assert row.ordering_key == key


@pytest.mark.parametrize("value", ["x" * 256, "a\0b"])
def test_keys_that_no_column_holds_keep_their_order(value: str) -> None:
    target = numbered(TARGET, 1, ordering_key="body:id")
    keys = {
        planned(target, body=json.dumps({"id": sent}).encode()).queued[0].ordering_key
        for sent in (value, value, f"{value}.")
    }
    assert len(keys) == 2
    assert {key[:7] if key else key for key in keys} == {"sha256:"}


def test_calls_for_a_disabled_target_are_held() -> None:
    disabled = numbered(TARGET, 2, name="off", is_enabled=False, ordering_key="header:x")
    shadow = numbered(TARGET, 3, name="copy", is_enabled=False, role=TargetRole.SHADOW)
    fan_out = planned(TARGET, disabled, shadow, headers={"x": "1"})
    assert [(row.target_id, row.state, row.ordering_key) for row in fan_out.queued] == [
        (1, "pending", None),
        (2, "held", "1"),
    ]


def test_conditions_are_asked_of_a_disabled_target_too() -> None:
    fan_out = planned(numbered(LARGE, 1, is_enabled=False))
    assert (fan_out.queued, fan_out.filtered_count) == ((), 1)


def test_the_target_that_answers_gets_every_call() -> None:
    answering = numbered(TARGET, 9, name="lookup", delivery_mode=DeliveryMode.SYNC)
    fan_out = planned(LARGE, answering)
    assert fan_out.queued == ()
    assert fan_out.response is not None


@pytest.mark.parametrize(
    "target", [wanting({"path": "a", "near": 1}), wanting({}), numbered(TARGET, 1, ordering_key="moon:x")]
)
def test_rules_that_cannot_be_read_take_no_calls(target: Target) -> None:
    with pytest.raises(EndpointMisconfigured, match="cannot be read"):
        planned(target, EACH)
