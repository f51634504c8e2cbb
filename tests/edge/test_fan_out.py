"""Which deliveries a call becomes."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from relay_contract.errors import TargetHeld
from relay_contract.ids import uuid7
from relay_contract.intake import STREAM_SHARD, SYNC_SHARDS
from relay_contract.nouns import DeliveryMode, Target
from relay_edge.catalog.snapshot import EndpointRoute
from relay_edge.charges import ChargeSet
from relay_edge.fan_out import STREAM_GRACE_SECONDS, plan
from relay_edge.relay_call import RelayCall, RelayCaller
from tests.edge.nouns import ENDPOINT, LINE, PROJECT, RELAY_KEY, TARGET, numbered

SYNC, STREAM = DeliveryMode.SYNC, DeliveryMode.STREAM


def call_to(*targets: Target) -> RelayCall:
    route = EndpointRoute(PROJECT, LINE, ENDPOINT, tuple(each for each in targets if each.is_enabled), targets)
    nothing = cast("Any", None)  # the plan looks neither at the request nor at the catalog
    call = RelayCall(uuid7(), nothing, nothing, None, route, "127.0.0.1", 0.0, datetime.now(UTC), body=b"{}")
    call.identified = RelayCaller(PROJECT, RELAY_KEY, RELAY_KEY.mode, cast("ChargeSet", nothing))
    return call


def test_async_targets_are_queued_beside_the_one_that_answers() -> None:
    sync = numbered(TARGET, 2, name="lookup", delivery_mode=SYNC, timeout_seconds=7)
    call = call_to(TARGET, sync, numbered(TARGET, 3, name="third"))
    planned = plan(call)
    assert [row.target_id for row in planned.queued] == [1, 3]
    assert planned.response is not None
    row = planned.response.row
    assert (planned.response.mode, planned.response.target) == ("sync", sync)
    assert (row.mode, row.state, row.expire_seconds, row.target_id) == ("sync", "pending", 7, 2)
    assert row.shard in SYNC_SHARDS
    assert {each.request_id for each in planned.rows} == {call.request_id}
    assert len(planned.rows) == len({each.id for each in planned.rows}) == 3


def test_a_stream_is_its_edges_own_until_it_expires() -> None:
    planned = plan(call_to(replace(TARGET, delivery_mode=STREAM, stream_total_seconds=100)))
    assert planned.queued == ()
    assert planned.response is not None
    row = planned.response.row
    assert (row.mode, row.state, row.shard) == ("stream", "sending", STREAM_SHARD)
    assert row.expire_seconds == 100 + STREAM_GRACE_SECONDS


def test_an_endpoint_of_async_targets_answers_itself() -> None:
    assert plan(call_to(TARGET, numbered(TARGET, 2, name="off", is_enabled=False))).response is None


def test_a_disabled_target_that_answers_holds_up_the_whole_call() -> None:
    disabled = numbered(TARGET, 2, name="lookup", delivery_mode=SYNC, is_enabled=False)
    with pytest.raises(TargetHeld):
        plan(call_to(TARGET, disabled))
    response = plan(call_to(disabled, numbered(TARGET, 3, name="stream", delivery_mode=STREAM))).response
    assert response is not None
    assert response.target.id == 3
