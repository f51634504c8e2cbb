"""The order of bindings of one priority, and what a process remembers for it."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from relay_contract import nouns
from relay_contract.nouns import HostBindingId, Selection
from relay_contract.pricing import PriceMeter, Rate
from relay_edge.selection import FAILED_SECONDS, HALF_LIFE_SECONDS, Load, may_stay, order, typical_cost
from tests.edge.nouns import BINDING, PRICING, numbered

ONE, TWO, THREE = (HostBindingId(number) for number in (1, 2, 3))


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def bindings(*weights: int) -> list[nouns.HostBinding]:
    return [numbered(BINDING, place + 1, weight=weight) for place, weight in enumerate(weights)]


def unlucky() -> float:
    raise AssertionError("this selection draws nothing")


def call(load: Load, binding_id: HostBindingId, seconds: float | None, *, failed: bool = False) -> None:
    load.started(binding_id)
    load.ended(binding_id, seconds, failed)


def test_weights_are_shares_and_nobody_is_left_out() -> None:
    chance = random.Random(7).random
    orders = [order(Selection.WEIGHT, bindings(1, 3, 0), Load(), chance) for _ in range(8000)]
    assert {tuple(sorted(each)) for each in orders} == {(0, 1, 2)}
    assert {each[2] for each in orders} == {2}  # weight 0 only when nothing else is left
    assert Counter(each[0] for each in orders) == {1: 6000, 0: 2000}


def test_the_same_seed_draws_the_same_orders() -> None:
    first, second = (
        [order(Selection.WEIGHT, bindings(1, 2, 3), Load(), random.Random(seed).random) for seed in range(20)]
        for _ in range(2)
    )
    assert first == second
    assert len({tuple(each) for each in first}) > 1


@pytest.mark.parametrize("chance", [0.0, 1.0 - 2**-53])
def test_the_ends_of_chance_are_drawn_from_too(chance: float) -> None:
    assert sorted(order(Selection.WEIGHT, bindings(5, 0, 1_000_000), Load(), lambda: chance)) == [0, 1, 2]


def test_the_least_busy_goes_first_and_ties_keep_their_order() -> None:
    load, three = Load(), bindings(1, 1, 1)
    load.started(ONE)
    load.started(ONE)
    load.started(THREE)
    assert order(Selection.LEAST_BUSY, three, load, unlucky) == [1, 2, 0]
    load.ended(ONE, None, failed=False)
    load.ended(ONE, 0.5, failed=True)
    assert order(Selection.LEAST_BUSY, three, load, unlucky) == [0, 1, 2]


def test_the_quickest_goes_first_after_each_was_tried() -> None:
    clock = Clock()
    load, three = Load(clock), bindings(1, 1, 1)
    call(load, ONE, 0.9)
    call(load, TWO, 0.3)
    assert order(Selection.LATENCY, three, load, unlucky) == [2, 1, 0]
    load.started(THREE)  # one try is enough to find out: the next caller is not sent after it
    assert order(Selection.LATENCY, three, load, unlucky) == [1, 0, 2]
    load.ended(THREE, None, failed=False)  # its caller left before a token came
    assert order(Selection.LATENCY, three, load, unlucky) == [2, 1, 0]


def test_many_callers_of_unknown_bindings_spread_over_them() -> None:
    load, three = Load(Clock()), bindings(1, 1, 1)
    firsts = []
    for _ in range(6):
        first = order(Selection.LATENCY, three, load, unlucky)[0]
        firsts.append(first)
        load.started(three[first].id)
    assert Counter(firsts) == {0: 2, 1: 2, 2: 2}


def test_what_failed_is_slow_and_tried_again_later_by_one_caller() -> None:
    clock = Clock()
    load, two = Load(clock), bindings(1, 1)
    call(load, ONE, None, failed=True)
    call(load, TWO, 1.0)
    assert load.seconds(ONE) == FAILED_SECONDS
    assert order(Selection.LATENCY, two, load, unlucky) == [1, 0]
    clock.now += 6 * HALF_LIFE_SECONDS
    load.started(TWO)  # somebody uses it all the time
    assert order(Selection.LATENCY, two, load, unlucky) == [0, 1]
    load.started(ONE)
    assert order(Selection.LATENCY, two, load, unlucky) == [1, 0]
    load.ended(ONE, 0.5, failed=False)
    assert load.seconds(ONE) == pytest.approx(0.5 + 0.7 * 2**-6 * (FAILED_SECONDS - 0.5))  # believed at once
    assert order(Selection.LATENCY, two, load, unlucky) == [0, 1]


def test_the_average_moves_with_each_call() -> None:
    load = Load(Clock())
    assert load.seconds(ONE) is None
    for seconds in (1.0, 2.0, 0.0):
        call(load, ONE, seconds)
    assert load.seconds(ONE) == pytest.approx((1.0 * 0.7 + 2.0 * 0.3) * 0.7)


def test_a_load_forgets_what_is_gone_and_takes_late_ends() -> None:
    load = Load()
    for binding_id in (ONE, TWO):
        load.started(binding_id)
    load.keep(lambda binding_id: binding_id == TWO)
    assert len(load) == 1
    load.ended(ONE, 0.5, failed=False)
    assert (len(load), load.in_flight(ONE), load.in_flight(TWO)) == (1, 0, 1)
    load.ended(TWO, 0.5, failed=False)
    assert load.in_flight(TWO) == 0


def test_a_price_is_compared_for_a_typical_call() -> None:
    assert typical_cost(PRICING) == 3_000 * 1_250 + 1_000 * 10_000
    assert typical_cost(replace(PRICING, rates=(Rate(PriceMeter.CALL, 5_000_000),))) == 5
    assert typical_cost(replace(PRICING, rates=())) == typical_cost(None) == float("inf")


@pytest.mark.parametrize("selection", [Selection.PRIORITY, Selection.COST])
def test_a_steady_selection_keeps_the_order_that_it_is_given(selection: Selection) -> None:
    assert order(selection, bindings(1, 5, 0), Load(), unlucky) == [0, 1, 2]


def test_a_conversation_leaves_a_binding_that_is_much_busier() -> None:
    load, two = Load(), bindings(1, 1)
    for _ in range(4):
        load.started(ONE)
    assert may_stay(Selection.LEAST_BUSY, two, 0, load)
    load.started(ONE)
    assert not may_stay(Selection.LEAST_BUSY, two, 0, load)
    assert may_stay(Selection.LEAST_BUSY, two, 1, load)
    assert may_stay(Selection.WEIGHT, two, 0, load)


def test_a_conversation_leaves_a_binding_that_is_much_slower() -> None:
    load, two = Load(Clock()), bindings(1, 1)
    assert may_stay(Selection.LATENCY, two, 0, load)  # not measured
    call(load, ONE, 5.0)
    assert may_stay(Selection.LATENCY, two, 0, load)  # nothing to compare it with
    call(load, TWO, 3.0)
    assert may_stay(Selection.LATENCY, two, 0, load)
    call(load, ONE, 20.0)
    assert not may_stay(Selection.LATENCY, two, 0, load)
    assert may_stay(Selection.LATENCY, two, 1, load)
