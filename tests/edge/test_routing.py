"""Which model is reached, on which host, with which key next."""

from dataclasses import replace

import pytest

from relay_contract import nouns
from relay_contract.errors import ModelForbidden, ModelNotFound, NoHostKey, RelayError
from relay_contract.nouns import Noun, WireShape
from relay_edge import protocols
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.protocols.translation import CODECS, HOST_CODECS
from relay_edge.routing import Blame, Candidate, Leg, PolicyPatterns, Router, Turns, next_candidate
from tests.edge.nouns import BINDING, HOST, HOST_KEY, MODEL, POLICY, numbered

OPENAI, ANTHROPIC = WireShape.OPENAI_CHAT, WireShape.ANTHROPIC_MESSAGES


@pytest.mark.parametrize(
    ("patterns", "reached", "refused"),
    [
        ((), [], ["gpt", ""]),
        (("*",), ["gpt", "claude"], []),
        (("gpt",), ["gpt"], ["gpt-4", "gp", "GPT"]),
        (("gpt*",), ["gpt", "gpt-4"], ["claude", "agpt"]),
        (("gpt-*", "claude"), ["gpt-4", "claude"], ["gpt", "claude-3"]),
        (("*", "-gpt-4"), ["gpt", "gpt-4o"], ["gpt-4"]),
        (("-gpt*", "*"), ["claude"], ["gpt", "gpt-4"]),
        (("gpt-4", "-gpt*"), [], ["gpt-4"]),
        (("a*c",), ["a*c"], ["abc"]),
        (("-*", "*"), [], ["gpt"]),
    ],
)
def test_patterns(patterns: tuple[str, ...], reached: list[str], refused: list[str]) -> None:
    compiled = PolicyPatterns(patterns)
    assert [name for name in (*reached, *refused) if compiled.reaches(name)] == reached


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
    assert router(*hosts(1), key(1), binding(1, 1, shape=shape)).reachable(POLICY) == (MODEL,)
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


@pytest.mark.parametrize(
    ("blames", "turn", "expected"),
    [
        ([Blame.KEY] * 5, 0, [1, 2, 3, 4]),
        ([Blame.KEY] * 5, 1, [2, 1, 4, 3]),
        ([Blame.HOST] * 5, 0, [1, 3, 2, 4]),  # the other host first, then what is left
        ([Blame.HOST, Blame.KEY, Blame.KEY, Blame.KEY], 0, [1, 3, 4, 2]),
        ([Blame.KEY, Blame.HOST, Blame.KEY, Blame.KEY], 0, [1, 2, 3, 4]),
    ],
)
def test_the_order_of_candidates_ends(blames: list[Blame], turn: int, expected: list[int]) -> None:
    turns = Turns()
    for _ in range(turn):
        turns.take(nouns.HostId(1))
    (leg,) = (
        router(*hosts(1, 2), key(1, 1), key(2, 1), key(3, 2), key(4, 2), binding(1, 1, 1), binding(2, 2, 2))
        .plan(POLICY, "demo-gpt", OPENAI, turns)
        .legs
    )
    assert order_of(leg, blames) == expected


def order_of(leg: Leg, blames: list[Blame]) -> list[int]:
    """The keys in the order in which they are tried."""
    candidate: Candidate | None = leg.candidates[0]
    tried: list[tuple[Candidate, Blame]] = []
    order = []
    for blame in blames:
        if candidate is None:
            break
        order.append(int(candidate.key.id))
        tried.append((candidate, blame))
        candidate = next_candidate(leg, tried)
    assert candidate is None
    return order
