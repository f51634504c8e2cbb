"""Who is tried after what, whom the caller hears of, and that every call ends."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_contract.errors import BadField, UpstreamProtocolError
from relay_contract.nouns import FallbackCondition, WireShape
from relay_contract.traffic import FailureClass
from relay_edge.failover import (
    MAX_TRIES,
    MAX_TRIES_OF_A_MODEL,
    Tried,
    followers,
    is_last_hope,
    reported,
    shortest_wait_ms,
    worth_waiting_for,
)
from relay_edge.routing import Candidate, Leg, Plan
from tests.edge.nouns import BINDING, HOST, HOST_KEY, MODEL, numbered

FAILURES = list(FailureClass)
ANY, CONTEXT, FILTER = FallbackCondition


def leg(model: int, hosts: dict[int, int], *when: FallbackCondition) -> Leg:
    """A model on these hosts, each with so many keys; candidates are called `host.key`."""
    noun = numbered(MODEL, model, name=f"model-{model}")
    candidates = []
    for host, keys in hosts.items():
        at = numbered(HOST, host, slug=f"host-{host}")
        binding = numbered(BINDING, model * 10 + host, model_id=noun.id, host_id=at.id)
        candidates += [
            Candidate(noun, binding, at, numbered(HOST_KEY, host * 10 + key, host_id=at.id), None)
            for key in range(1, keys + 1)
        ]
    return Leg(noun, tuple(candidates), frozenset(when))


def plan_of(*legs: Leg) -> Plan:
    return Plan(WireShape.OPENAI_CHAT, legs)


def failed(candidate: Candidate, failure: FailureClass | None, retry_after_ms: int | None = None) -> Tried:
    error = BadField("n") if failure is None else UpstreamProtocolError()
    return Tried(candidate, failure, error, is_sent=failure is not None, retry_after_ms=retry_after_ms)


def path(plan: Plan, *happens: FailureClass | None) -> list[str]:
    """`model:host.key` of each try, when these failures happen one after the other; the last one is repeated."""
    tried: list[Tried] = []
    names = []
    for failure in itertools.chain(happens, itertools.repeat(happens[-1])):
        following = followers(plan, tried)
        if not following:
            return names
        best = following[0]
        names.append(f"{best.model.id}:{best.host.id}.{best.key.id % 10}")
        tried.append(failed(best, failure))
        assert len(tried) <= 20
    raise AssertionError


TWO_HOSTS = leg(1, {1: 2, 2: 2})
ONE_KEY_EACH = leg(1, {1: 1, 2: 1})
SPARE = leg(2, {3: 1}, ANY)
LARGER = leg(4, {1: 1}, CONTEXT)


@pytest.mark.parametrize(
    ("happens", "legs", "expected"),
    [
        ((FailureClass.AUTH,), (TWO_HOSTS,), ["1:1.1", "1:1.2", "1:2.1"]),
        ((FailureClass.RATE_LIMIT,), (TWO_HOSTS,), ["1:1.1", "1:1.2", "1:2.1"]),
        ((FailureClass.SERVER,), (TWO_HOSTS,), ["1:1.1", "1:1.2", "1:2.1"]),
        ((FailureClass.OVERLOADED,), (TWO_HOSTS,), ["1:1.1", "1:2.1", "1:1.2"]),
        ((FailureClass.NETWORK,), (TWO_HOSTS,), ["1:1.1", "1:2.1", "1:1.2"]),
        ((FailureClass.TIMEOUT,), (TWO_HOSTS,), ["1:1.1", "1:2.1"]),
        ((FailureClass.CALLER,), (TWO_HOSTS, SPARE), ["1:1.1"]),
        ((FailureClass.CONTEXT_LENGTH,), (TWO_HOSTS, SPARE), ["1:1.1"]),
        ((FailureClass.CONTEXT_LENGTH,), (TWO_HOSTS, SPARE, LARGER), ["1:1.1", "4:1.1"]),
        ((FailureClass.CONTENT_FILTER,), (TWO_HOSTS, SPARE, LARGER), ["1:1.1"]),
        ((FailureClass.SERVER,), (ONE_KEY_EACH,), ["1:1.1", "1:1.1", "1:2.1"]),
        ((FailureClass.NETWORK,), (ONE_KEY_EACH,), ["1:1.1", "1:2.1", "1:1.1"]),
        ((FailureClass.OVERLOADED,), (ONE_KEY_EACH,), ["1:1.1", "1:2.1"]),
        ((FailureClass.RATE_LIMIT,), (ONE_KEY_EACH, SPARE), ["1:1.1", "1:2.1", "2:3.1"]),
        ((FailureClass.SERVER,), (ONE_KEY_EACH, SPARE), ["1:1.1", "1:1.1", "1:2.1", "2:3.1", "2:3.1"]),
        ((FailureClass.TIMEOUT,), (ONE_KEY_EACH, SPARE), ["1:1.1", "1:2.1", "2:3.1"]),
        ((None,), (ONE_KEY_EACH, SPARE), ["1:1.1", "1:2.1"]),  # what cannot be told there is no failure
        ((FailureClass.TIMEOUT, FailureClass.CALLER), (ONE_KEY_EACH, SPARE), ["1:1.1", "1:2.1"]),
        ((FailureClass.TIMEOUT, FailureClass.TIMEOUT, FailureClass.CONTEXT_LENGTH), (ONE_KEY_EACH, SPARE, LARGER),
         ["1:1.1", "1:2.1", "2:3.1", "4:1.1"]),
        # A fallback's refusal sends the call to the next fallback.
        ((FailureClass.OVERLOADED, FailureClass.CALLER), (leg(1, {1: 1}), SPARE, leg(5, {5: 1}, ANY)),
         ["1:1.1", "2:3.1", "5:5.1"]),
        # A key that is refused is not tried for another model; a silent host is, since another model may answer.
        ((FailureClass.AUTH,), (leg(1, {1: 1}), leg(2, {1: 2}, ANY)), ["1:1.1", "2:1.2"]),
        ((FailureClass.TIMEOUT,), (leg(1, {1: 1}), leg(2, {1: 2}, ANY)), ["1:1.1", "2:1.1"]),
    ],
)  # fmt: skip
def test_the_way(happens: tuple[FailureClass | None, ...], legs: tuple[Leg, ...], expected: list[str]) -> None:
    assert path(plan_of(*legs), *happens) == expected


def test_before_the_first_try_fallbacks_stand_behind_the_model() -> None:
    plan = plan_of(ONE_KEY_EACH, SPARE, LARGER)
    assert list(followers(plan, ())) == [*ONE_KEY_EACH.candidates, *SPARE.candidates]
    alone = plan_of(ONE_KEY_EACH)
    assert followers(alone, ()) is ONE_KEY_EACH.candidates


@settings(max_examples=300)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.lists(st.sampled_from([*FAILURES, None]), min_size=1, max_size=30),
    st.lists(st.sets(st.sampled_from(list(FallbackCondition))), max_size=3),
    st.randoms(use_true_random=False),
)
def test_every_call_ends(
    keys: list[int], happens: list[FailureClass | None], fallbacks: list[set[FallbackCondition]], chance: object
) -> None:
    """Whatever fails, and whichever of those offered a picker chooses."""
    legs = [leg(1, dict(enumerate(keys, 1)))]
    legs += [leg(2 + place, {place + 1: 2, 7: 1}, *when) for place, when in enumerate(fallbacks)]
    plan = plan_of(*legs)
    tried: list[Tried] = []
    silent: set[tuple[int, int]] = set()
    for failure in itertools.cycle(happens):
        following = followers(plan, tried)
        if not following:
            break
        chosen = chance.choice(following)  # type: ignore[attr-defined]  # hypothesis' Random
        assert (chosen.model.id, chosen.host.id) not in silent
        tried.append(failed(chosen, failure))
        if failure is FailureClass.TIMEOUT:
            silent.add((chosen.model.id, chosen.host.id))
    sent = [each for each in tried if each.is_sent]
    assert len(sent) <= MAX_TRIES
    for each in plan.legs:
        assert sum(one.candidate.model is each.model for one in sent) <= MAX_TRIES_OF_A_MODEL
    counts = [sum(one.candidate is each.candidate for one in tried) for each in tried]
    assert max(counts) <= 2
    assert reported(plan, tried) in tried


@pytest.mark.parametrize(
    ("happens", "expected"),
    [
        ([(0, FailureClass.AUTH), (1, FailureClass.RATE_LIMIT)], 1),
        ([(0, FailureClass.TIMEOUT), (1, FailureClass.RATE_LIMIT)], 0),
        ([(0, None), (1, FailureClass.AUTH)], 1),
        ([(0, FailureClass.SERVER), (1, FailureClass.CALLER)], 1),  # the model asked for: the caller's own fault
        ([(0, FailureClass.SERVER), (2, FailureClass.CALLER)], 0),  # a fallback's refusal hides nothing
        ([(0, FailureClass.CONTEXT_LENGTH), (2, FailureClass.SERVER)], 0),
        ([(0, FailureClass.AUTH), (2, FailureClass.CALLER)], 0),
        ([(0, None), (2, FailureClass.CALLER)], 1),
    ],
)
def test_whom_the_caller_hears_of(happens: list[tuple[int, FailureClass | None]], expected: int) -> None:
    plan = plan_of(ONE_KEY_EACH, SPARE)
    everyone = [*ONE_KEY_EACH.candidates, *SPARE.candidates]
    tried = [failed(everyone[place], failure) for place, failure in happens]
    assert reported(plan, tried) is tried[expected]


def test_a_short_wait_is_worth_it_once() -> None:
    plan = plan_of(ONE_KEY_EACH, SPARE)
    first, second = ONE_KEY_EACH.candidates
    limited = failed(first, FailureClass.RATE_LIMIT, 2000)
    assert worth_waiting_for(plan, [limited]) == (first, 2.0)
    sooner = failed(second, FailureClass.OVERLOADED, 500)
    assert worth_waiting_for(plan, [limited, sooner]) == (second, 0.5)
    assert worth_waiting_for(plan, [limited, limited]) is None
    assert worth_waiting_for(plan, [replace(limited, retry_after_ms=2501)]) is None
    assert worth_waiting_for(plan, [replace(limited, retry_after_ms=None)]) is None
    assert worth_waiting_for(plan, [failed(first, FailureClass.SERVER, 100)]) is None
    assert worth_waiting_for(plan, [limited, failed(second, FailureClass.CALLER)]) is None
    assert worth_waiting_for(plan, [failed(SPARE.candidates[0], FailureClass.RATE_LIMIT, 100)]) is None
    assert shortest_wait_ms([limited, sooner, failed(first, FailureClass.AUTH)]) == 500
    assert shortest_wait_ms([failed(first, FailureClass.AUTH)]) is None


@pytest.mark.parametrize(
    ("legs", "expected"),
    [
        ((leg(1, {1: 3}),), True),
        ((leg(1, {1: 3}), LARGER), True),
        ((leg(1, {1: 3}), SPARE), False),
        ((ONE_KEY_EACH,), False),
    ],
)
def test_the_last_hope_is_waited_for(legs: tuple[Leg, ...], expected: bool) -> None:
    plan = plan_of(*legs)
    assert is_last_hope(plan, (), legs[0].candidates[0]) is expected
    if plan.legs == (ONE_KEY_EACH,):
        first, second = ONE_KEY_EACH.candidates
        assert is_last_hope(plan, [failed(first, FailureClass.OVERLOADED)], second)
