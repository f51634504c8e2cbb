"""Breakers over several processes on a real Valkey: what opens them, one probe, and the way back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_contract.nouns import HostBindingId, Meter, Rule
from relay_contract.redis import breakers as contract
from relay_contract.redis import keys
from relay_contract.traffic import BreakerEventRow, BreakerState, FailureClass
from relay_edge.admission import Admission, Need, Reservation
from relay_edge.breaker_rules import FAILURE_RULES, SLOW_START_MS
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.charges import NO_CHARGES
from relay_edge.local_breakers import LocalBreakers
from relay_edge.offers import Offer, Offers
from tests.edge.admitting import (
    candidate,
    charges,
    client,
    concurrency,
    cost,
    counted,
    offers_of,
    requests,
    running,
    tokens,
)

BINDING_FAILURES = [kind for kind, rule in FAILURE_RULES.items() if rule.is_threshold]
KEY_FAILURES = [FailureClass.AUTH, FailureClass.QUOTA]


def entry(connection: Any, field: str) -> dict[str, Any] | None:
    stored = connection.hget(keys.BREAKERS, field)
    return None if stored is None else json.loads(stored)


def let_time_pass(connection: Any, field: str, milliseconds: int) -> None:
    """As if the breaker had changed that much earlier."""
    stored = json.loads(connection.hget(keys.BREAKERS, field))
    for name in ("since_ms", "until_ms", "probe_until_ms"):
        if name in stored:
            stored[name] -= milliseconds
    connection.hset(keys.BREAKERS, field, json.dumps(stored))


async def told(admission: Admission) -> None:
    """Everything that was queued is done."""
    assert admission.queue._link is not None
    admission.queue._flush()
    await admission.queue._link.call(b"PING")


async def chosen(admission: Admission, offers: list[Offer]) -> int | None:
    reservation = await admission.admit(NO_CHARGES, offers=offers)
    admission.settle(reservation)
    return reservation.chosen


async def fail(
    admission: Admission, offer: Offer, failure: FailureClass, retry_after_ms: int | None = None
) -> Reservation:
    reservation = await admission.admit(NO_CHARGES, offers=[offer])
    admission.breakers.failed(offer, failure, retry_after_ms, reservation)
    admission.settle(reservation)
    await told(admission)
    return reservation


async def test_the_first_offer_is_chosen_and_nothing_is_kept_while_all_is_well(redis_url: str) -> None:
    offers = offers_of(candidate(1), candidate(2))
    async with running(redis_url) as admission:
        reservation = await admission.admit(NO_CHARGES, offers=offers)
        assert (reservation.chosen, reservation.is_probe, reservation.retry_after_seconds) == (0, False, None)
        admission.settle(reservation)
        await told(admission)
    with client(redis_url) as connection:
        assert [key for key in connection.keys("*") if not key.startswith(b"{relay}:edge")] == []  # that it lives


@pytest.mark.parametrize("failure", KEY_FAILURES)
async def test_what_speaks_against_the_key_closes_it_at_once_behind_every_binding(
    redis_url: str, failure: FailureClass
) -> None:
    same_key, same_binding = candidate(1, binding=7), candidate(2, binding=1)
    offers = offers_of(candidate(1), same_key, same_binding)
    events: list[BreakerEventRow] = []
    async with running(redis_url, on_event=events.append) as admission, running(redis_url) as other:
        await fail(admission, offers[0], failure, 3000)
        assert await chosen(other, offers) == 2
        reservation = await other.admit(NO_CHARGES, offers=offers[:2])
        open_ms = events[0].open_ms
        assert reservation.chosen is None
        assert 0 < (reservation.retry_after_seconds or 0) * 1000 <= open_ms
        expected = {FailureClass.AUTH: 300_000, FailureClass.QUOTA: 3000}[failure]
        assert [
            (e.kind, e.host_key_id, e.binding_id, e.from_state, e.to_state, e.reason, e.open_ms) for e in events
        ] == [("host_key", 1, None, "closed", "open", failure, expected)]


async def test_a_rate_limit_closes_the_key_for_that_model_alone(redis_url: str) -> None:
    """Vendors limit each model by itself: a fallback at the same host goes by the same key."""
    other_model = candidate(1, binding=7, upstream_name="other")
    offers = offers_of(candidate(1), other_model)
    same_model_elsewhere = offers_of(candidate(1, binding=8))
    events: list[BreakerEventRow] = []
    async with running(redis_url, on_event=events.append) as admission, running(redis_url) as other:
        await fail(admission, offers[0], FailureClass.RATE_LIMIT, 3000)
        assert await chosen(other, offers) == 1
        assert await chosen(other, same_model_elsewhere) is None
    [event] = events
    assert (event.kind, event.host_key_id, event.binding_id, event.open_ms) == ("host_key", 1, 1, 3000)


@pytest.mark.parametrize("failure", BINDING_FAILURES)
async def test_what_speaks_against_the_binding_closes_it_after_three(redis_url: str, failure: FailureClass) -> None:
    offers = offers_of(candidate(1), candidate(1, binding=7))
    async with running(redis_url) as admission, running(redis_url) as other:
        for process in (admission, other):
            await fail(process, offers[0], failure)
            assert await chosen(admission, offers) == 0
        await fail(admission, offers[0], failure)
        assert await chosen(other, offers) == 1


@pytest.mark.parametrize("failure", [FailureClass.CALLER, FailureClass.CONTEXT_LENGTH, FailureClass.CONTENT_FILTER])
async def test_what_speaks_against_nothing(redis_url: str, failure: FailureClass) -> None:
    offers = offers_of(candidate(1))
    async with running(redis_url) as admission:
        for _ in range(20):
            await fail(admission, offers[0], failure)
        assert await chosen(admission, offers) == 0


@pytest.mark.parametrize(("well", "failed", "opens"), [(1, 4, False), (4, 4, False), (5, 5, True), (6, 5, False)])
async def test_a_failure_rate_opens_and_a_few_among_many_do_not(
    redis_url: str, well: int, failed: int, opens: bool
) -> None:
    [offer] = offers_of(candidate(1))
    async with running(redis_url) as admission, running(redis_url) as other:
        reservation = await admission.admit(NO_CHARGES, offers=[offer])
        for _ in range(well):
            other.breakers.succeeded(offer, reservation)
        other.breakers._flush()
        await told(other)
        for _ in range(failed):
            await fail(admission, offer, FailureClass.SERVER)
        assert (await chosen(other, [offer]) is None) == opens


async def test_one_probe_passes_over_all_processes_and_a_good_one_starts_slowly(redis_url: str) -> None:
    [offer] = offers_of(candidate(1))
    field = offer.guards[0].field
    events: list[BreakerEventRow] = []
    async with running(redis_url, on_event=events.append) as one, running(redis_url, on_event=events.append) as two:
        await fail(one, offer, FailureClass.AUTH)
        with client(redis_url) as connection:
            let_time_pass(connection, field, 300_000)
            found = await asyncio.gather(
                *[each.admit(NO_CHARGES, offers=[offer]) for each in (one, two) for _ in range(25)]
            )
            probes = [(place, each) for place, each in enumerate(found) if each.chosen is not None]
            assert [each.is_probe for _, each in probes] == [True]
            assert {each.retry_after_seconds for each in found if each.chosen is None} == {1.0}
            [(place, probe)] = probes
            process = one if place < 25 else two
            process.breakers.succeeded(offer, probe)
            await told(process)
            stored = entry(connection, field)
            assert stored is not None
            assert stored["state"] == "slow_start"
            assert stored["until_ms"] - stored["since_ms"] == SLOW_START_MS
            assert await chosen(two, [offer]) == 0  # it has nowhere else to go
            let_time_pass(connection, field, SLOW_START_MS)
            assert await chosen(two, [offer]) == 0
            assert connection.exists(keys.BREAKERS) == 0
        assert [(each.from_state, each.to_state, each.reason) for each in events] == [
            ("closed", "open", "auth"),
            ("open", "half_open", "probe"),
            ("half_open", "slow_start", "recovered"),
            ("slow_start", "closed", "recovered"),
        ]


async def test_a_slow_start_takes_a_growing_share(redis_url: str) -> None:
    offers = offers_of(candidate(1), candidate(2))
    field = offers[0].guards[0].field
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            shares = []
            for passed_ms in (1000, 5000, 8000):
                seconds, micros = connection.time()
                now = seconds * 1000 + micros // 1000
                stored = {
                    "state": "slow_start", "reason": "auth", "level": 0, "host": "h", "row_id": 1,
                    "since_ms": now - passed_ms, "until_ms": now - passed_ms + SLOW_START_MS,
                }  # fmt: skip
                connection.hset(keys.BREAKERS, field, json.dumps(stored))
                found = await asyncio.gather(*[admission.admit(NO_CHARGES, offers=offers) for _ in range(400)])
                shares.append(sum(each.chosen == 0 for each in found))
            assert 0 < shares[0] < shares[1] < shares[2] < 400


async def test_a_failed_probe_doubles_the_time_up_to_a_cap(redis_url: str) -> None:
    [offer] = offers_of(candidate(1))
    field = offer.guards[0].field
    events: list[BreakerEventRow] = []
    async with running(redis_url, on_event=events.append) as admission:
        with client(redis_url) as connection:
            for _ in range(6):
                reservation = await fail(admission, offer, FailureClass.AUTH)
                assert reservation.chosen == 0
                let_time_pass(connection, field, events[-1].open_ms)
    opened = [event.open_ms // 60_000 for event in events if event.to_state == BreakerState.OPEN]
    assert opened == [5, 10, 20, 40, 60, 60]


async def test_late_failures_do_not_move_an_open_breaker(redis_url: str) -> None:
    [offer] = offers_of(candidate(1))
    events: list[BreakerEventRow] = []
    async with running(redis_url, on_event=events.append) as admission:
        in_flight = [await admission.admit(NO_CHARGES, offers=[offer]) for _ in range(5)]
        for reservation in in_flight:
            admission.breakers.failed(offer, FailureClass.AUTH, None, reservation)
        await told(admission)
        with client(redis_url) as connection:
            stored = entry(connection, offer.guards[0].field)
        assert stored is not None
        assert stored["level"] == 0
        assert len(events) == 1


async def test_a_short_retry_after_only_pauses_the_key(redis_url: str) -> None:
    offers = offers_of(candidate(1), candidate(2))
    field = offers[0].guards[2].field
    events: list[BreakerEventRow] = []
    async with running(redis_url, on_event=events.append) as admission:
        await fail(admission, offers[0], FailureClass.RATE_LIMIT, 1500)
        assert await chosen(admission, offers) == 1
        with client(redis_url) as connection:
            stored = entry(connection, field)
            assert stored is not None
            assert stored["state"] == contract.PAUSED
            let_time_pass(connection, field, 1500)
            reservation = await admission.admit(NO_CHARGES, offers=offers)
            assert (reservation.chosen, reservation.is_probe) == (0, False)
            admission.breakers.succeeded(offers[0], reservation)
            admission.breakers._flush()
            await told(admission)
            assert entry(connection, field) is None
        assert events == []


async def test_rate_limits_without_a_time_back_off_further_each_time(redis_url: str) -> None:
    [offer] = offers_of(candidate(1))
    field = offer.guards[2].field
    waits = []
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            for _ in range(8):
                await fail(admission, offer, FailureClass.RATE_LIMIT)
                stored = entry(connection, field)
                assert stored is not None
                waits.append((stored["state"], stored["until_ms"] - stored["since_ms"]))
                let_time_pass(connection, field, waits[-1][1])
    assert waits == [
        ("paused", 1000), ("paused", 2000), ("open", 4000), ("open", 8000), ("open", 16_000), ("open", 32_000),
        ("open", 60_000), ("open", 60_000),
    ]  # fmt: skip


async def test_a_replaced_value_starts_afresh(redis_url: str) -> None:
    [before] = offers_of(candidate(1))
    after = Offers(Snapshot.build([]), lambda _key: "another value").of(candidate(1))
    assert after is not None
    async with running(redis_url) as admission:
        await fail(admission, before, FailureClass.AUTH)
        assert await chosen(admission, [before, after]) == 1


async def test_a_probe_that_nobody_reports_on_is_free_for_another(redis_url: str) -> None:
    [offer] = offers_of(candidate(1))
    async with running(redis_url) as admission, running(redis_url) as other:
        await fail(admission, offer, FailureClass.AUTH)
        with client(redis_url) as connection:
            let_time_pass(connection, offer.guards[0].field, 300_000)
        probe = await admission.admit(NO_CHARGES, offers=[offer])
        assert probe.is_probe
        assert await chosen(other, [offer]) is None
        admission.settle(probe)  # the caller left
        await told(admission)
        again = await other.admit(NO_CHARGES, offers=[offer])
        assert again.is_probe


async def test_a_host_keys_limits_are_counted_over_all_callers_and_passed_over_when_reached(redis_url: str) -> None:
    offers = offers_of(
        candidate(1), candidate(2), candidate(3), limits={1: (requests(2),), 2: (concurrency(1),), 3: (tokens(10),)}
    )
    need = Need(4, 0)
    async with running(redis_url) as one, running(redis_url) as two:
        found = [await each.admit(NO_CHARGES, offers=offers, need=need) for each in (one, two) * 3]
        assert [each.chosen for each in found] == [0, 0, 1, 2, 2, None]
        assert found[-1].retry_after_seconds == 1.0  # a place may come free
        one.settle(found[2])
        one.settle(found[4], tokens=1)
        await told(one)
        assert (await two.admit(NO_CHARGES, offers=offers, need=need)).chosen == 1
        assert (await two.admit(NO_CHARGES, offers=offers, need=need)).chosen == 2


async def test_a_further_try_gives_back_what_the_last_key_held_but_its_request(redis_url: str) -> None:
    offers = offers_of(
        candidate(1), candidate(2), limits={1: (requests(5), concurrency(1), tokens(10)), 2: (concurrency(1),)}
    )
    windows = [rule.key for rule in offers[0].limits.rules]
    async with running(redis_url) as admission:
        reservation = await admission.admit(NO_CHARGES, offers=offers, need=Need(8, 0))
        assert reservation.chosen == 0
        assert await admission.pick(reservation, offers[1:]) == 0
        with client(redis_url) as connection:
            assert connection.hget(windows[0], "current") == b"1"
            assert connection.exists(windows[1]) == 0
            assert connection.hget(windows[2], "current") == b"0"
            assert await admission.pick(reservation, []) is None
            admission.settle(reservation, tokens=8)
            await told(admission)
            assert connection.exists(offers[1].limits.rules[0].key) == 0
        assert reservation.chosen is None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limits=st.lists(
        st.tuples(st.sampled_from([Meter.TOKENS, Meter.COST, Meter.CONCURRENCY]), st.integers(1, 12)),
        min_size=1,
        max_size=3,
    ),
    calls=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=25),
    edges=st.integers(1, 3),
)
async def test_parallel_calls_and_further_tries_never_pass_a_host_keys_limit(
    redis_url: str, limits: list[tuple[Meter, int]], calls: list[tuple[int, int, int]], edges: int
) -> None:
    """Each call: its estimate, what it used of it, and how many further tries it made."""
    with client(redis_url) as connection:
        connection.flushall()
    rules = {number: (Rule(meter, amount, 100_000),) for number, (meter, amount) in enumerate(limits, 1)}
    offers = offers_of(*[candidate(number) for number in rules], limits=rules)
    held = [0] * len(limits)

    def note(place: int, change: int) -> None:
        held[place] += change
        assert held[place] <= limits[place][1], held

    async def call(admission: Admission, estimate: int, used: int, tries: int) -> None:
        reservation = await admission.admit(NO_CHARGES, offers=offers, need=Need(estimate, estimate * 1000))
        place, left = reservation.chosen, list(range(len(offers)))
        for _ in range(tries):
            if place is None:
                break
            amount = 1 if limits[place][0] is Meter.CONCURRENCY else estimate
            note(place, amount)
            await asyncio.sleep(0)
            note(place, -amount)
            left.remove(place)
            found = await admission.pick(reservation, [offers[each] for each in left])
            place = None if found is None else left[found]
        if place is not None:
            is_lease = limits[place][0] is Meter.CONCURRENCY
            note(place, 1 if is_lease else estimate)
            await asyncio.sleep(0)
            note(place, -1 if is_lease else used - estimate)
        admission.settle(reservation, used, used * 1000)

    running_edges = [running(redis_url) for _ in range(edges)]
    admissions = [await edge.__aenter__() for edge in running_edges]
    await asyncio.gather(
        *[
            call(admissions[number % edges], estimate, min(used, estimate), tries)
            for number, (estimate, used, tries) in enumerate(calls)
        ]
    )
    for edge in running_edges:
        await edge.__aexit__(None, None, None)
    with client(redis_url) as connection:
        for place, offer in enumerate(offers):
            [rule] = offer.limits.rules
            if rule.meter is Meter.CONCURRENCY:
                assert not connection.exists(rule.key)
            else:
                unit = 1000 if rule.meter is Meter.COST else 1
                assert int(connection.hget(rule.key, "current") or 0) == held[place] * unit


async def test_callers_limits_are_counted_although_no_offer_is_left(redis_url: str) -> None:
    wanted = charges(requests(5))
    [offer] = offers_of(candidate(1))
    async with running(redis_url) as admission:
        await fail(admission, offer, FailureClass.AUTH)
        reservation = await admission.admit(wanted, offers=[offer])
        assert reservation.chosen is None
        assert reservation.limits()[0].remaining == 4
        with client(redis_url) as connection:
            assert counted(connection, wanted) == [1]


async def test_the_contract_reads_what_the_script_wrote(redis_url: str) -> None:
    [offer] = offers_of(candidate(3, binding=4))
    async with running(redis_url) as admission:
        await fail(admission, offer, FailureClass.QUOTA)
    with client(redis_url) as connection:
        [(field, stored)] = connection.hgetall(keys.BREAKERS).items()
    found = contract.read(field.decode(), stored)
    assert (found.kind, found.state, found.reason, found.host, found.row_id) == (
        "host_key",
        "open",
        "quota",
        "vendor",
        3,
    )
    assert found.until_ms - found.since_ms == 30 * 60_000
    assert "value-3" not in field.decode() + stored.decode()


async def test_old_entries_are_swept_out(redis_url: str) -> None:
    [offer] = offers_of(candidate(1))
    with client(redis_url) as connection:
        old = {"state": "open", "reason": "auth", "level": 0, "host": "h", "row_id": 1, "since_ms": 0, "until_ms": 1}
        connection.hset(keys.BREAKERS, mapping={f"host_key:{n}": json.dumps(old) for n in range(600)})
        async with running(redis_url) as admission:
            await fail(admission, offer, FailureClass.AUTH)
        assert connection.hkeys(keys.BREAKERS) == [offer.guards[0].field.encode()]


async def test_without_redis_a_process_has_breakers_of_its_own() -> None:
    offers = offers_of(candidate(1), candidate(2, binding=HostBindingId(2)), limits={2: (cost(5),)})
    events: list[BreakerEventRow] = []
    async with running("redis://127.0.0.1:1/0", on_event=events.append) as admission:
        for _ in range(3):
            reservation = await admission.admit(NO_CHARGES, offers=offers)
            assert reservation.chosen == 0
            admission.breakers.failed(offers[0], FailureClass.TIMEOUT, None, reservation)
            admission.settle(reservation)
        assert await chosen(admission, offers) == 1
        reservation = await admission.admit(NO_CHARGES, offers=offers, need=Need(0, 1))
        assert reservation.chosen is None  # the second one's key counts money, and nobody can count it now
        assert reservation.retry_after_seconds == 1.0
    assert [(each.kind, each.to_state, each.reason) for each in events] == [("binding", "open", "timeout")]


def test_local_breakers_probe_once_and_close() -> None:
    local, rule = LocalBreakers(), FAILURE_RULES[FailureClass.SERVER]
    assert [local.failed("b", rule, 0, False, 0.0) for _ in range(4)] == [0, 0, 5000, 0]
    assert (local.wait("b", 1.0), local.wait("b", 5.0)) == (4.0, 0.0)
    assert local.pass_through("b", 5.0)
    assert local.wait("b", 5.0) == 1.0
    local.release("b")
    assert local.wait("b", 5.0) == 0.0
    assert local.pass_through("b", 6.0)
    assert local.failed("b", rule, 0, True, 6.0) == 10_000
    assert local.pass_through("b", 16.0)
    assert local.succeeded("b", True, 16.0)
    assert local.wait("b", 16.0) == 0.0


@pytest.mark.parametrize("failure", [FailureClass.OVERLOADED, FailureClass.SERVER, FailureClass.NETWORK])
@pytest.mark.parametrize("outage_seconds", [60, 600, 3700])
def test_a_host_that_is_back_is_used_again_soon(failure: FailureClass, outage_seconds: int) -> None:
    """FailoverBench S15 at its own pace: a call every four seconds, the last one 16 s after a minute's outage."""
    local, rule = LocalBreakers(), FAILURE_RULES[failure]
    for second in range(0, outage_seconds + 20, 4):
        if local.wait("b", second):
            continue
        is_probe = local.pass_through("b", second)
        if second >= outage_seconds:
            return
        local.failed("b", rule, 0, is_probe, second)
    pytest.fail("was not used again")
