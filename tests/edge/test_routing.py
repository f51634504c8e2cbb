"""Which model is reached, on which host, with which key next."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from relay_contract import nouns
from relay_contract.errors import ModelForbidden, ModelNotFound, NoHostKey, RelayError
from relay_contract.nouns import Fallback, FallbackCondition, Noun, Selection, WireShape
from relay_contract.pricing import PriceMeter, Rate
from relay_edge import protocols
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.protocols.translation import CODECS, HOST_CODECS
from relay_edge.routing import Listed, Plan, Router, Turns
from relay_edge.selection import Load
from tests.edge.nouns import BINDING, HOST, HOST_KEY, MODEL, MODEL_ALIAS, POLICY, PRICING, numbered

OPENAI, ANTHROPIC = WireShape.OPENAI_CHAT, WireShape.ANTHROPIC_MESSAGES


def key(number: int, host_id: int = 1) -> nouns.HostKey:
    return replace(HOST_KEY, id=nouns.HostKeyId(number), host_id=nouns.HostId(host_id))


def binding(number: int, host_id: int, priority: int = 1, shape: WireShape = OPENAI, enabled: bool = True) -> Noun:
    return replace(
        BINDING, id=nouns.HostBindingId(number), host_id=nouns.HostId(host_id), priority=priority, wire_shape=shape,
        is_enabled=enabled,
    )  # fmt: skip


def hosts(*numbers: int) -> list[Noun]:
    return [numbered(HOST, number, slug=f"host-{number}") for number in numbers]


def router(*rows: Noun) -> Router:
    return Router(Snapshot.build([MODEL, *rows]))


def test_stops_are_enabled_bindings_on_enabled_hosts_with_keys_by_priority() -> None:
    found = router(
        *hosts(1, 2, 3, 4), replace(numbered(HOST, 5), is_enabled=False),
        key(1, 1), key(2, 2), key(3, 2), key(5, 5), key(6, 4),
        binding(1, 1, priority=2), binding(2, 2, priority=1), binding(3, 3), binding(4, 5),
        binding(6, 99), binding(7, 4, shape=ANTHROPIC, enabled=False),
    ).plan(POLICY, "demo-gpt", OPENAI, Turns())  # fmt: skip
    assert [leg.model for leg in found.legs] == [MODEL]
    assert [(each.host.id, each.key.id) for each in found.legs[0].candidates] == [(2, 2), (2, 3), (1, 1)]


@pytest.mark.parametrize(
    ("rows", "name", "error"),
    [
        ([], "unknown", ModelNotFound),
        ([replace(MODEL, is_enabled=False)], "demo-gpt", ModelNotFound),
        ([], "demo-gpt", NoHostKey),
        ([*hosts(1), binding(1, 1)], "demo-gpt", NoHostKey),
        ([*hosts(1), key(1), binding(1, 1, enabled=False)], "demo-gpt", NoHostKey),
    ],
)
def test_no_way(rows: list[Noun], name: str, error: type[RelayError]) -> None:
    with pytest.raises(error) as raised:
        router(*rows).plan(POLICY, name, OPENAI, Turns())
    assert type(raised.value) is error


def test_a_host_of_the_callers_shape_goes_first_among_equals_and_priority_before_shape() -> None:
    rows = [
        *hosts(1, 2, 3, 4), key(1, 1), key(2, 2), key(3, 3), key(4, 4),
        binding(1, 1, 2, ANTHROPIC), binding(2, 2, 2, OPENAI), binding(3, 3, 1, ANTHROPIC), binding(4, 4, 3, OPENAI),
    ]  # fmt: skip
    order = {
        shape: [each.host.id for each in router(*rows).plan(POLICY, "demo-gpt", shape, Turns()).legs[0].candidates]
        for shape in (OPENAI, ANTHROPIC)
    }
    assert order == {OPENAI: [3, 2, 1, 4], ANTHROPIC: [3, 1, 2, 4]}
    assert router(*rows).plan(POLICY, "demo-gpt", ANTHROPIC, Turns()).shape is ANTHROPIC


@pytest.mark.parametrize("shape", list(WireShape))
def test_a_model_is_listed_whatever_the_shape_of_its_host(shape: WireShape) -> None:
    assert router(*hosts(1), key(1), binding(1, 1, shape=shape)).reachable(POLICY) == (Listed("demo-gpt", MODEL),)
    assert router(*hosts(1), binding(1, 1, shape=shape)).reachable(POLICY) == ()


@pytest.mark.parametrize("policy", [None, replace(POLICY, models=("other",))])
def test_no_grant(policy: nouns.Policy | None) -> None:
    with pytest.raises(ModelForbidden):
        router(*hosts(1), key(1), binding(1, 1)).plan(policy, "demo-gpt", OPENAI, Turns())


def test_each_shape_has_a_surface_and_a_codec() -> None:
    assert all(shape is surface.shape for shape, surface in protocols.HOST_SURFACES.items())
    assert {*protocols.SURFACES} == {*CODECS} == {*WireShape} - {WireShape.GEMINI}
    assert {*protocols.HOST_SURFACES} == {*HOST_CODECS} == {*WireShape}


def test_turns_go_round_for_each_host() -> None:
    turns = Turns()
    assert [turns.take(nouns.HostId(1)) for _ in range(3)] == [0, 1, 2]
    assert turns.take(nouns.HostId(2)) == 0


def keys_of(plan: Plan) -> list[list[int]]:
    """The ids of the keys of each leg, in order."""
    return [[int(candidate.key.id) for candidate in leg.candidates] for leg in plan.legs]


def served_by(*keys_of_hosts: int, **columns: Any) -> list[Noun]:
    """Bindings of equal priority on as many hosts, with keys 11, 12, ... on host 1, 21, ... on host 2."""
    rows: list[Noun] = []
    for place, count in enumerate(keys_of_hosts):
        number = place + 1
        rows += [*hosts(number), *(key(number * 10 + each + 1, number) for each in range(count))]
        rows.append(replace(binding(number, number), **{name: values[place] for name, values in columns.items()}))  # type: ignore[arg-type]  # fields of a binding
    return rows


def policy(**columns: Any) -> nouns.Policy:
    return replace(POLICY, **columns)


def test_an_alias_is_another_name_of_its_model() -> None:
    made = router(*served_by(1), MODEL_ALIAS)
    assert made.plan(POLICY, "demo-latest", OPENAI, Turns()) == made.plan(POLICY, "demo-gpt", OPENAI, Turns())
    assert made.reachable(POLICY) == (Listed("demo-gpt", MODEL), Listed("demo-latest", MODEL))


@pytest.mark.parametrize("is_enabled", [True, False])
def test_a_models_own_name_hides_an_alias(is_enabled: bool) -> None:
    own = numbered(MODEL, 2, name="demo-latest", is_enabled=is_enabled)
    made = router(*served_by(1), MODEL_ALIAS, own)
    with pytest.raises(NoHostKey if is_enabled else ModelNotFound):
        made.plan(POLICY, "demo-latest", OPENAI, Turns())
    assert made.reachable(POLICY) == (Listed("demo-gpt", MODEL),)


def test_an_alias_is_listed_once_and_only_where_its_model_is_reached() -> None:
    twice = numbered(MODEL_ALIAS, 2, model_id=nouns.ModelId(1))
    off = [numbered(MODEL, 3, name="off", is_enabled=False), numbered(MODEL_ALIAS, 3, model_id=3, name="off-alias")]
    made = router(*served_by(1), MODEL_ALIAS, twice, *off)
    assert [each.name for each in made.reachable(POLICY)] == ["demo-gpt", "demo-latest"]
    assert made.reachable(None) == ()


@pytest.mark.parametrize(
    ("patterns", "is_reached"), [(("demo-latest",), False), (("demo-gpt", "-demo-latest"), True), (("demo/*",), True)]
)
def test_grants_speak_of_the_models_own_name(patterns: tuple[str, ...], is_reached: bool) -> None:
    made, asked = router(*served_by(1), MODEL_ALIAS), policy(models=patterns)
    assert bool(made.reachable(asked)) is is_reached
    for name in ("demo-gpt", "demo-latest"):
        if is_reached:
            assert keys_of(made.plan(asked, name, OPENAI, Turns())) == [[11]]
        else:
            with pytest.raises(ModelForbidden):
                made.plan(asked, name, OPENAI, Turns())


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("*",), [[11, 21]]),
        (("demo-gpt@host-2",), [[21]]),
        (("*", "-*@host-1"), [[21]]),
        (("demo/*@host-1",), [[11]]),
        (("demo-gpt@host-3",), ModelForbidden),
        (("*", "-*@host-1", "-demo*@host-2"), ModelForbidden),
        (("*", "-demo-gpt"), ModelForbidden),
    ],
)
def test_grants_choose_hosts(patterns: tuple[str, ...], expected: Any) -> None:
    made, asked = router(*served_by(1, 1)), policy(models=patterns)
    if isinstance(expected, list):
        assert keys_of(made.plan(asked, "demo-gpt", OPENAI, Turns())) == expected
        return
    assert made.reachable(asked) == ()
    with pytest.raises(expected):
        made.plan(asked, "demo-gpt", OPENAI, Turns())


def test_a_granted_host_without_a_key_is_no_matter_of_the_policy() -> None:
    with pytest.raises(NoHostKey):
        router(*served_by(1, 0)).plan(policy(models=("*@host-2",)), "demo-gpt", OPENAI, Turns())


def behind(*names: str) -> list[Noun]:
    """Models 2, 3, ... of these names, on host 1."""
    rows: list[Noun] = []
    for place, name in enumerate(names):
        rows.append(numbered(MODEL, place + 2, name=name))
        rows.append(numbered(BINDING, place + 20, model_id=nouns.ModelId(place + 2)))
    return rows


ANY, LONG = FallbackCondition.ANY_FAILURE, FallbackCondition.CONTEXT_LENGTH


def test_the_first_fallback_that_fits_is_the_whole_chain() -> None:
    fallbacks = (
        Fallback(("other*",), (ANY,), ("b",)),
        Fallback(("demo*",), (ANY, LONG), ("b", "missing", "demo-gpt", "demo-latest", "b", "off", "unserved", "a")),
        Fallback(("*",), (ANY,), ("c",)),
    )
    rows = [*served_by(1), *behind("a", "b", "c"), MODEL_ALIAS, numbered(MODEL, 9, name="unserved")]
    rows.append(numbered(MODEL, 10, name="off", is_enabled=False))
    plan = router(*rows).plan(policy(fallbacks=fallbacks), "demo-latest", OPENAI, Turns())
    assert [(leg.model.name, leg.when) for leg in plan.legs] == [
        ("demo-gpt", frozenset()), ("b", {ANY, LONG}), ("a", {ANY, LONG}),
    ]  # fmt: skip


def test_a_fallback_must_be_granted_too() -> None:
    fallbacks = (Fallback(("*",), (ANY,), ("a", "b")),)
    rows = [*served_by(1), *behind("a", "b")]
    plan = router(*rows).plan(policy(models=("*", "-a"), fallbacks=fallbacks), "demo-gpt", OPENAI, Turns())
    assert [leg.model.name for leg in plan.legs] == ["demo-gpt", "b"]
    with pytest.raises(ModelForbidden):  # nobody gets around a denial by a fallback
        router(*rows).plan(policy(models=("*", "-demo-gpt"), fallbacks=fallbacks), "demo-gpt", OPENAI, Turns())


def test_a_model_without_any_candidate_is_served_by_what_stands_behind_any_failure() -> None:
    rows = [*hosts(1), key(11, 1), *behind("a", "b")]
    plan = router(*rows).plan(policy(fallbacks=(Fallback(("*",), (ANY,), ("a", "b")),)), "demo-gpt", OPENAI, Turns())
    assert [(leg.model.name, leg.when) for leg in plan.legs] == [("a", frozenset()), ("b", {ANY})]
    with pytest.raises(NoHostKey):
        router(*rows).plan(policy(fallbacks=(Fallback(("*",), (LONG,), ("a",)),)), "demo-gpt", OPENAI, Turns())


def test_candidates_are_the_same_objects_on_every_way() -> None:
    made = router(*served_by(1, 2), MODEL_ALIAS)
    plans = [
        made.plan(asked, name, shape, Turns(), affinity=b"abcd")
        for asked in (POLICY, policy(id=nouns.PolicyId(2), selection=Selection.WEIGHT, keeps_affinity=True))
        for name in ("demo-gpt", "demo-latest")
        for shape in (OPENAI, ANTHROPIC)
    ]
    assert len({id(each) for plan in plans for leg in plan.legs for each in leg.candidates}) == 3


def test_one_candidate_is_one_plan_object_for_any_selection() -> None:
    for selection in Selection:
        made, asked = router(*served_by(1)), policy(selection=selection, keeps_affinity=True)
        assert not made.wants_affinity(asked, "demo-gpt", OPENAI)
        first = made.plan(asked, "demo-gpt", OPENAI, Turns())
        assert made.plan(asked, "demo-gpt", OPENAI, Turns(), affinity=b"abcd") is first


def test_a_selection_orders_one_priority_and_never_beyond_it() -> None:
    rows = served_by(
        1, 1, 1, 1, weight=(1, 1, 5, 0), priority=(1, 1, 2, 1), wire_shape=(ANTHROPIC, OPENAI, OPENAI, OPENAI)
    )
    made = Router(Snapshot.build([MODEL, *rows]), chance=random.Random(3).random)
    orders = Counter(
        tuple(keys_of(made.plan(policy(selection=Selection.WEIGHT), "demo-gpt", OPENAI, Turns()))[0])
        for _ in range(200)
    )
    assert set(orders) == {(11, 21, 41, 31), (21, 11, 41, 31)}


def test_the_cheapest_goes_first_and_the_unpriced_last() -> None:
    dear, cheap = (
        numbered(PRICING, number, rates=(Rate(PriceMeter.INPUT, rate), Rate(PriceMeter.OUTPUT, 4 * rate)))
        for number, rate in ((1, 2_000_000_000), (2, 1_000_000_000))
    )
    rows = served_by(1, 2, 1, 1, pricing_id=(None, 1, 2, 1), wire_shape=(OPENAI, ANTHROPIC, ANTHROPIC, OPENAI))
    made, asked, turns = router(*rows, dear, cheap), policy(selection=Selection.COST), Turns()
    plans = [made.plan(asked, "demo-gpt", OPENAI, turns) for _ in range(4)]
    assert [keys_of(plan)[0] for plan in plans] == [[31, 21, 22, 41, 11], [31, 22, 21, 41, 11]] * 2
    assert plans[2] is plans[0]


def test_busy_bindings_come_last_and_their_keys_still_take_turns() -> None:
    load, turns = Load(), Turns()
    made = Router(Snapshot.build([MODEL, *served_by(2, 2)]), load)
    firsts = []
    for _ in range(8):
        first = made.plan(policy(selection=Selection.LEAST_BUSY), "demo-gpt", OPENAI, turns).legs[0].candidates[0]
        load.started(first.binding.id)
        firsts.append(int(first.key.id))
    assert firsts == [11, 21, 12, 22, 11, 21, 12, 22]


@pytest.mark.parametrize("selection", list(Selection))
def test_a_conversation_goes_first_to_its_key_and_the_rest_follow(selection: Selection) -> None:
    made = Router(Snapshot.build([MODEL, *served_by(3, 3)]), chance=lambda: 0.5)
    asked, turns = policy(selection=selection, keeps_affinity=True), Turns()
    assert made.wants_affinity(asked, "demo-gpt", OPENAI)
    firsts = set()
    for number in range(200):
        name = number.to_bytes(4, "big") * 2
        orders = [keys_of(made.plan(asked, "demo-gpt", OPENAI, turns, affinity=name))[0] for _ in range(4)]
        assert {order[0] for order in orders} == {orders[0][0]}
        assert all(sorted(order) == [11, 12, 13, 21, 22, 23] for order in orders)
        firsts.add(orders[0][0])
    steady = selection in (Selection.PRIORITY, Selection.COST)  # which mean the first binding, and take its keys
    assert firsts == ({11, 12, 13} if steady else {11, 12, 13, 21, 22, 23})


def test_a_policy_that_keeps_no_affinity_takes_turns_whatever_the_conversation() -> None:
    made, turns = router(*served_by(3)), Turns()
    assert not made.wants_affinity(POLICY, "demo-gpt", OPENAI)
    plans = [made.plan(POLICY, "demo-gpt", OPENAI, turns, affinity=b"abcd") for _ in range(3)]
    assert [keys_of(plan)[0][0] for plan in plans] == [11, 12, 13]


def test_a_conversation_leaves_a_binding_that_is_far_busier_than_another() -> None:
    load = Load()
    made = Router(Snapshot.build([MODEL, *served_by(1, 1)]), load)
    asked = policy(selection=Selection.LEAST_BUSY, keeps_affinity=True)
    home = made.plan(asked, "demo-gpt", OPENAI, Turns(), affinity=b"abcd").legs[0].candidates[0]
    for _ in range(5):
        load.started(home.binding.id)
    assert made.plan(asked, "demo-gpt", OPENAI, Turns(), affinity=b"abcd").legs[0].candidates[0] is not home
    load.ended(home.binding.id, None, failed=False)
    assert made.plan(asked, "demo-gpt", OPENAI, Turns(), affinity=b"abcd").legs[0].candidates[0] is home


def test_more_keys_than_kept_turns_still_all_lead() -> None:
    made, turns = router(*served_by(70)), Turns()
    assert {keys_of(made.plan(POLICY, "demo-gpt", OPENAI, turns))[0][0] for _ in range(70)} == {
        10 + number for number in range(1, 71)
    }
