"""Which deliveries a call becomes."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest
from aiohttp.test_utils import make_mocked_request

from relay_contract.errors import TargetHeld
from relay_contract.ids import uuid7
from relay_contract.intake import STREAM_SHARD, SYNC_SHARDS
from relay_contract.nouns import DeliveryMode, Target, TargetRole
from relay_edge.catalog.snapshot import EndpointRoute, Snapshot
from relay_edge.charges import ChargeSet
from relay_edge.fan_out import STREAM_GRACE_SECONDS, plan
from relay_edge.prepared import PreparedEndpoints
from relay_edge.purses import key_purses
from relay_edge.relay_call import RelayCall, RelayCaller
from relay_edge.shadows import is_sampled
from tests.edge.nouns import ENDPOINT, LINE, PROJECT, RELAY_KEY, TARGET, numbered

SYNC, STREAM = DeliveryMode.SYNC, DeliveryMode.STREAM


def call_to(*targets: Target) -> RelayCall:
    route = EndpointRoute(PROJECT, LINE, ENDPOINT, tuple(each for each in targets if each.is_enabled), targets)
    nothing = cast("Any", None)
    request = cast("Any", make_mocked_request("POST", "/r/demo/v1/events"))
    call = RelayCall(uuid7(), request, nothing, None, route, "127.0.0.1", 0.0, datetime.now(UTC), body=b"{}")
    call.prepared = PreparedEndpoints().of(Snapshot.build(()), route)
    call.identified = RelayCaller(
        PROJECT, RELAY_KEY, RELAY_KEY.mode, cast("ChargeSet", nothing), key_purses(PROJECT, RELAY_KEY)
    )
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


def test_a_stream_holds_one_credit_whatever_is_sent() -> None:
    call = call_to(replace(TARGET, delivery_mode=STREAM), numbered(TARGET, 2, name="second"))
    call.body = b"x" * 200_000
    response = plan(call).response
    assert response is not None
    assert [(row.credits, row.units, row.body_bytes) for row in (response.row, *plan(call).queued)] == [
        (1_000_000, 1, 200_000),
        (4_000_000, 4, 200_000),
    ]


def test_an_endpoint_of_async_targets_answers_itself() -> None:
    assert plan(call_to(TARGET, numbered(TARGET, 2, name="off", is_enabled=False))).response is None


def test_a_disabled_target_that_answers_holds_up_the_whole_call() -> None:
    disabled = numbered(TARGET, 2, name="lookup", delivery_mode=SYNC, is_enabled=False)
    with pytest.raises(TargetHeld):
        plan(call_to(TARGET, disabled))
    response = plan(call_to(disabled, numbered(TARGET, 3, name="stream", delivery_mode=STREAM))).response
    assert response is not None
    assert response.target.id == 3


def shadow(number: int, **columns: Any) -> Target:
    return numbered(TARGET, number, role=TargetRole.SHADOW, **{"name": f"shadow-{number}", **columns})


def test_shadows_get_their_share_of_calls_and_the_same_ones() -> None:
    some, same, none = (
        shadow(2, sample_permyriad=2_500),
        shadow(3, sample_permyriad=2_500),
        shadow(4, sample_permyriad=0),
    )
    taken = 0
    for _ in range(2_000):
        ids = [row.target_id for row in plan(call_to(TARGET, some, same, none)).queued]
        assert ids in ([1], [1, 2, 3])
        taken += len(ids) > 1
    assert 350 < taken < 650


def test_a_share_is_decided_by_the_request_s_id() -> None:
    id_of_7500 = UUID(int=7_500)
    assert not is_sampled(shadow(2, sample_permyriad=7_500), id_of_7500)
    assert is_sampled(shadow(2, sample_permyriad=7_501), id_of_7500)


def test_a_shadow_and_the_one_it_is_held_against_keep_their_answers() -> None:
    compares, plain = shadow(3, compares_with="first"), shadow(4)
    planned = plan(call_to(TARGET, numbered(TARGET, 2, name="second"), compares, plain))
    assert [(row.target_id, row.is_shadow, row.is_compared) for row in planned.queued] == [
        (1, False, True),
        (2, False, False),
        (3, True, True),
        (4, True, False),
    ]


def test_a_stream_is_compared_too_and_nothing_with_who_gets_no_call() -> None:
    compares = shadow(3, compares_with="first")
    planned = plan(call_to(replace(TARGET, delivery_mode=STREAM), compares))
    assert planned.response is not None
    assert planned.response.row.is_compared
    assert planned.queued[0].is_compared
    held, row = plan(call_to(replace(TARGET, is_enabled=False), compares)).queued
    assert (held.is_compared, row.is_shadow, row.is_compared) == (False, True, False)
