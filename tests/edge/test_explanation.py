"""Why a call would go where it goes: as values, and over HTTP with a relay key or the control plane's token."""

import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from psycopg import AsyncConnection

from relay_contract import nouns, tokens
from relay_contract.internal_token import InternalTokens
from relay_contract.nouns import Fallback, FallbackCondition, Noun, Selection, WireShape
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.explain_call import ASKING, OPERATIONS
from relay_edge.explanation import Question, explain
from relay_edge.needs import UNBOUNDED_TOKENS
from relay_edge.protocols.model_name import read_model_request
from relay_edge.routing import Candidate
from relay_edge.selection import Load
from tests.edge.inside import InsideEdge, inside_edge
from tests.edge.nouns import (
    BINDING,
    EVERYTHING,
    HOST,
    HOST_KEY,
    MODEL,
    MODEL_ALIAS,
    MOMENT,
    POLICY,
    PRICING,
    RELAY_KEY,
    TOKEN,
    insert,
    numbered,
)
from tests.edge.running import MASTER_KEY

ANY = FallbackCondition.ANY_FAILURE


def host(number: int, *keys: bool, is_enabled: bool = True, **of_binding: Any) -> list[Noun]:
    """A host, its keys, and its binding of the model."""
    return [
        numbered(HOST, number, slug=f"host-{number}", is_enabled=is_enabled),
        *(
            numbered(HOST_KEY, number * 10 + place, host_id=number, name=f"key-{number}{place}", is_enabled=each)
            for place, each in enumerate(keys)
        ),
        numbered(BINDING, number, host_id=number, **of_binding),
    ]


def question(
    rows: list[Noun], policy: nouns.Policy | None = POLICY, name: str = "demo-gpt", surface: str = "chat_completions",
    load: Load | None = None, **further: Any,
) -> Question:  # fmt: skip
    """What is asked with nothing but the model's name."""
    wanted = read_model_request(json.dumps({"model": name}).encode())
    return Question(Snapshot.build(rows), policy, wanted, OPERATIONS[surface], load or Load(), **further)


def explained(
    rows: list[Noun], name: str = "demo-gpt", surface: str = "chat_completions", **policy: Any
) -> dict[str, Any]:
    """As it is sent."""
    asked = question([MODEL, *rows], replace(POLICY, **policy), name, surface)
    document: dict[str, Any] = json.loads(msgspec.json.encode(explain(asked)))
    return document


def test_everything_about_a_call() -> None:
    rows = [
        *host(1, True, False, wire_shape=WireShape.ANTHROPIC_MESSAGES),
        *host(2, True, priority=0),
        *host(3, True, is_enabled=False),
        *host(5),
        *host(6, True),
        numbered(BINDING, 7, host_id=2, wire_shape=WireShape.ANTHROPIC_MESSAGES, is_enabled=False),
        numbered(BINDING, 8, host_id=99),
        MODEL_ALIAS,
    ]
    document = explained(rows, "demo-latest", models=("demo*", "-*@host-6"))
    (leg,) = document.pop("legs")
    assert document == {
        "requestedModel": "demo-latest",
        "surface": "chat_completions",
        "outcome": "served",
        "status": 200,
        "reason": "demo-gpt on host-2 is tried first, with the key key-20.",
        "policy": "all",
        "model": "demo-gpt",
        "isAlias": True,
        "selection": "priority",
        "keepsAffinity": False,
        "reserved": {"tokens": 6 + UNBOUNDED_TOKENS, "nanousd": 0},
        "skippedFallbacks": [],
    }
    assert leg["candidates"] == [
        {
            "bindingId": 2, "host": "host-2", "hostKey": "key-20", "wireShape": "openai_chat", "upstreamName": "gpt-x",
            "isTranslated": False, "priority": 0, "weight": 1, "grant": "demo*", "figure": "", "isHome": False,
            "breaker": None, "reason": "priority 0",
        },
        {
            "bindingId": 1, "host": "host-1", "hostKey": "key-10", "wireShape": "anthropic_messages",
            "upstreamName": "gpt-x", "isTranslated": True, "priority": 1, "weight": 1, "grant": "demo*", "figure": "",
            "isHome": False, "breaker": None, "reason": "priority 1, translated",
        },
    ]  # fmt: skip
    assert {(each["bindingId"], each["host"], each["hostKey"], each["hindrance"]) for each in leg["leftOut"]} == {
        (1, "host-1", "key-11", "key_disabled"),
        (3, "host-3", None, "host_disabled"),
        (5, "host-5", None, "no_key"),
        (6, "host-6", None, "denied"),
        (7, "host-2", None, "binding_disabled"),
        (8, "", None, "host_missing"),
    }
    assert (
        next(each["reason"] for each in leg["leftOut"] if each["bindingId"] == 6) == "The policy denies it: -*@host-6"
    )


@pytest.mark.parametrize(
    ("name", "models", "outcome", "status", "hindrances"),
    [
        ("unknown", ("*",), "model_not_found", 404, None),
        ("demo-gpt", ("other",), "model_forbidden", 403, ["not_granted"]),
        ("demo-gpt", ("*", "-demo-gpt"), "model_forbidden", 403, ["denied"]),
        ("demo-gpt", ("*@host-9",), "model_forbidden", 403, ["not_granted"]),
        ("demo-gpt", ("*",), "no_host_key", 503, ["no_key"]),
    ],
)
def test_a_refused_call_says_why(
    name: str, models: tuple[str, ...], outcome: str, status: int, hindrances: list[str] | None
) -> None:
    document = explained(host(1), name, models=models)
    assert (document["outcome"], document["status"]) == (outcome, status)
    assert document["reason"]
    found = [[each["hindrance"] for each in leg["leftOut"]] for leg in document["legs"]]
    assert found == ([] if hindrances is None else [hindrances])
    assert all(leg["candidates"] == [] for leg in document["legs"])


def test_a_key_without_a_policy_reaches_nothing() -> None:
    answer = explain(question([MODEL], None, surface="messages"))
    assert (answer.outcome, answer.policy, answer.legs) == ("model_forbidden", None, [])


@pytest.mark.parametrize(
    ("selection", "figures"),
    [
        (Selection.WEIGHT, ["75 % of its priority", "25 % of its priority"]),
        (Selection.LEAST_BUSY, ["0 in flight", "2 in flight"]),
        (Selection.LATENCY, ["0.25 s to a first token", "1.50 s to a first token"]),
        (Selection.COST, ["0.013750 USD for 3000 + 1000 tokens", "no price"]),
    ],
)
def test_the_figure_by_which_the_policy_selects(selection: Selection, figures: list[str]) -> None:
    load = Load()
    for number, seconds in ((1, 1.5), (2, 0.25)):
        load.started(nouns.HostBindingId(number))
        load.ended(nouns.HostBindingId(number), seconds, failed=False)
    load.started(nouns.HostBindingId(1))
    load.started(nouns.HostBindingId(1))
    rows = [MODEL, PRICING, *host(1, True, weight=1), *host(2, True, weight=3, pricing_id=PRICING.id)]
    candidates = explain(question(rows, replace(POLICY, selection=selection), load=load)).legs[0].candidates
    assert [each.figure for each in candidates] == figures
    assert [each.host for each in candidates] == ["host-2", "host-1"]
    assert load.in_flight(nouns.HostBindingId(1)) == 2


def test_fallbacks_and_those_that_are_skipped() -> None:
    rows = [
        *host(1, True),
        numbered(MODEL, 2, name="b"), numbered(BINDING, 20, model_id=2),
        numbered(MODEL, 3, name="bare"), numbered(MODEL, 4, name="secret"), numbered(BINDING, 21, model_id=4),
    ]  # fmt: skip
    fallback = Fallback(("*",), (ANY,), ("b", "demo-gpt", "b", "missing", "bare", "secret"))
    document = explained(rows, models=("*", "-secret"), fallbacks=(fallback,))
    assert [(leg["model"], leg["when"]) for leg in document["legs"]] == [("demo-gpt", []), ("b", ["any_failure"])]
    assert [(each["model"], each["reason"]) for each in document["skippedFallbacks"]] == [
        ("demo-gpt", "This model is tried before."),
        ("b", "This model is tried before."),
        ("missing", "There is no enabled model of this name."),
        ("bare", "It has no usable host."),
        ("secret", "The policy does not grant it."),
    ]


def test_a_fallback_that_takes_the_first_place_is_told() -> None:
    rows = [*host(1), *host(2, True), numbered(MODEL, 2, name="b")]
    rows = [each for each in rows if each != numbered(BINDING, 2, host_id=2)]
    rows.append(numbered(BINDING, 2, host_id=2, model_id=2))
    document = explained(rows, fallbacks=(Fallback(("*",), (ANY,), ("b",)),))
    assert document["reason"] == ("b on host-2 is tried first, with the key key-20, since demo-gpt has no usable host.")
    assert [(leg["model"], len(leg["candidates"])) for leg in document["legs"]] == [("demo-gpt", 0), ("b", 1)]


def test_the_conversations_home_and_the_breakers_word() -> None:
    def breaker_of(candidate: Candidate) -> str | None:
        return "open for 12 s" if candidate.key.id == 11 else None

    rows = [MODEL, *host(1, True, True, True)]
    policy = replace(POLICY, keeps_affinity=True)
    homes = set()
    for number in range(20):
        asked = question(rows, policy, conversation=number.to_bytes(4, "big"), breaker_of=breaker_of)
        candidates = explain(asked).legs[0].candidates
        assert [each.is_home for each in candidates] == [True, False, False]
        assert candidates[0].reason == "this conversation's key, priority 1"
        assert {each.host_key: each.breaker for each in candidates} == {
            "key-10": None, "key-11": "open for 12 s", "key-12": None,
        }  # fmt: skip
        homes.add(candidates[0].host_key)
    assert homes == {"key-10", "key-11", "key-12"}


# --- what is no conversation ---


def test_the_operation_decides_which_hosts_do_it() -> None:
    rows = [
        *host(1, True, wire_shape=WireShape.ANTHROPIC_MESSAGES, priority=0),
        *host(2, True, wire_shape=WireShape.OPENAI_RESPONSES),
        *host(3, wire_shape=WireShape.GEMINI),
    ]
    document = explained(rows, surface="embeddings")
    (leg,) = document["legs"]
    assert (document["surface"], document["outcome"]) == ("embeddings", "served")
    assert [(each["host"], each["isTranslated"]) for each in leg["candidates"]] == [("host-2", False)]
    assert {each["host"]: each["hindrance"] for each in leg["leftOut"]} == {"host-1": "other_shape", "host-3": "no_key"}
    assert document["reserved"] == {"tokens": 6, "nanousd": 0}  # nothing is written
    assert explained(rows, surface="audio_transcriptions")["reserved"]["tokens"] == 6 + UNBOUNDED_TOKENS
    chat = explained(rows)
    assert [(each["host"], each["isTranslated"]) for each in chat["legs"][0]["candidates"]] == [
        ("host-1", True), ("host-2", True),
    ]  # fmt: skip


def test_hosts_that_do_something_else_are_a_fault_of_the_call() -> None:
    rows = [*host(1, True, wire_shape=WireShape.GEMINI), numbered(MODEL, 2, name="b")]
    rows += [numbered(BINDING, 20, model_id=2, wire_shape=WireShape.GEMINI)]
    fallback = Fallback(("*",), (ANY,), ("b",))
    document = explained(rows, surface="rerank", fallbacks=(fallback,))
    assert (document["outcome"], document["status"], document["reserved"]) == ("bad_field", 400, None)
    assert [each["hindrance"] for each in document["legs"][0]["leftOut"]] == ["other_shape"]
    assert document["skippedFallbacks"] == [{"model": "b", "reason": "No host of it does what is asked for."}]


def test_what_a_call_reserves_is_what_admission_would() -> None:
    wanted = read_model_request(b'{"model":"demo-gpt","max_tokens":100}')
    rows = [MODEL, PRICING, *host(1, True), *host(2, True, pricing_id=PRICING.id)]
    asked = replace(question(rows), request=wanted)
    reserved = explain(asked).reserved
    assert reserved is not None
    assert (reserved.tokens, reserved.nanousd) == (110, 10 * 1_250 + 100 * 10_000)


# --- over HTTP ---

INTERNAL = InternalTokens(base64.b64decode(MASTER_KEY))
PLAIN = {"model": "demo-gpt"}
REVOKED = tokens.mint(nouns.KeyMode.LIVE)
RELAY_ONLY = tokens.mint(nouns.KeyMode.LIVE)


@pytest.fixture
async def edge(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> AsyncIterator[InsideEdge]:
    keys = [
        numbered(RELAY_KEY, 2, token_hash=REVOKED.hash, revoked_at=MOMENT),
        numbered(RELAY_KEY, 3, token_hash=RELAY_ONLY.hash, scopes=(nouns.Scope.RELAY,)),
    ]
    await insert(owner, *EVERYTHING, *keys)
    async with inside_edge(tmp_path, free_port, edge_database_url, redis_url) as edge:
        yield edge


async def ask(edge: InsideEdge, token: str, body: Any = PLAIN, path: str = "/api/resolve") -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with edge.client.post(f"{edge.url}{path}", data=data, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_caller_asks_with_its_own_key(edge: InsideEdge) -> None:
    status, document = await ask(edge, TOKEN.token, {"model": "demo-latest", "surface": "messages"})
    assert (status, document["outcome"], document["model"], document["isAlias"]) == (200, "served", "demo-gpt", True)
    assert [each["isTranslated"] for each in document["legs"][0]["candidates"]] == [True]
    status, document = await ask(edge, TOKEN.token, {"model": "nothing"})
    assert (status, document["outcome"], document["status"]) == (200, "model_not_found", 404)


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (b"", "malformed_json", ""),
        (b"[]", "bad_request", ""),
        ({}, "bad_field", "model"),
        ({"model": 1}, "bad_request", "model"),
        ({"model": "demo-gpt", "surface": 1}, "bad_field", "surface"),
        (
            {"model": "demo-gpt", "surface": "gemini"},
            "bad_field",
            "audio_translations, chat_completions, embeddings, images, messages, moderations, rerank, responses",
        ),
    ],
)
async def test_a_body_that_cannot_be_read(edge: InsideEdge, body: Any, code: str, says: str) -> None:
    status, document = await ask(edge, TOKEN.token, body)
    assert (status, document["error"]) == (400, code)
    assert says in document["message"]


async def test_asking_is_limited_for_each_key_and_the_control_plane_takes_nothing_of_it(edge: InsideEdge) -> None:
    [rule] = ASKING.rules
    for _ in range(rule.burst + 5):
        assert (await ask(edge, INTERNAL.mint(1, time.time())))[0] == 200
    statuses = []
    while (answered := await ask(edge, TOKEN.token))[0] == 200:
        statuses.append(200)
    status, refused = answered
    assert len(statuses) >= rule.burst
    assert (status, refused["error"]) == (429, "rate_limited")
    assert refused["message"].startswith("The rate limit resolve of this relay key is reached: 60 calls in 60 s.")
    assert (await ask(edge, INTERNAL.mint(1, time.time())))[0] == 200
    call = {"model": "demo-gpt", "messages": [{"role": "user", "content": "hi"}]}
    assert (await ask(edge, TOKEN.token, call, "/v1/chat/completions"))[0] != 429


async def test_who_may_not_ask(edge: InsideEdge) -> None:
    found = {token: await ask(edge, token) for token in ("", "nobody", REVOKED.token, RELAY_ONLY.token)}
    assert [(status, document["error"]) for status, document in found.values()] == [
        (401, "missing_key"), (401, "invalid_key"), (401, "key_revoked"), (403, "scope_missing"),
    ]  # fmt: skip
    async with edge.client.get(f"{edge.url}/api/resolve") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_the_control_plane_asks_for_a_key_without_its_secret(edge: InsideEdge) -> None:
    now = time.time()
    asked = {number: await ask(edge, INTERNAL.mint(number, now)) for number in (1, 2, 3, 404)}
    assert [(status, document["outcome"], document["status"]) for status, document in asked.values()] == [
        (200, "served", 200), (200, "key_revoked", 401), (200, "scope_missing", 403), (200, "invalid_key", 401),
    ]  # fmt: skip


async def test_the_control_planes_token_opens_nothing_else_and_not_for_long(edge: InsideEdge) -> None:
    now = time.time()
    call = {"model": "demo-gpt", "messages": [{"role": "user", "content": "hi"}]}
    assert (await ask(edge, INTERNAL.mint(1, now), call, "/v1/chat/completions"))[0] == 401
    for token in (INTERNAL.mint(1, now - 60), InternalTokens(b"\x05" * 32).mint(1, now), "ri_1_2_3"):
        status, document = await ask(edge, token)
        assert (status, document["error"]) == (401, "invalid_key")
        assert "The control plane's token is not accepted" in document["message"]


def test_a_key_under_a_limit_of_cost_is_told_what_has_no_price() -> None:
    rows = [MODEL, *host(1, True), *host(2, True, pricing_id=PRICING.id), PRICING]
    rows += [numbered(MODEL, 2, name="b"), numbered(BINDING, 20, model_id=2)]
    policy = replace(POLICY, fallbacks=(Fallback(("*",), (ANY,), ("b",)),))
    document = json.loads(msgspec.json.encode(explain(question(rows, policy, is_cost_limited=True))))
    [leg] = document["legs"]
    assert [each["host"] for each in leg["candidates"]] == ["host-2"]
    assert [(each["host"], each["hindrance"]) for each in leg["leftOut"]] == [("host-1", "no_price")]
    assert [each["model"] for each in document["skippedFallbacks"]] == ["b"]
    assert "no price" in document["skippedFallbacks"][0]["reason"]
    alone = explain(question(rows[:4], policy, is_cost_limited=True))
    assert (alone.outcome, alone.status) == ("model_unpriced", 403)


def test_a_policy_that_denies_or_estimates_says_so() -> None:
    rows = [MODEL, *host(1, True), *host(2, True, pricing_id=PRICING.id), PRICING, numbered(PRICING, 2, slug="guess")]
    deny = replace(POLICY, unpriced=nouns.Unpriced.DENY)
    document = json.loads(msgspec.json.encode(explain(question(rows, deny))))
    [leg] = document["legs"]
    assert [each["host"] for each in leg["candidates"]] == ["host-2"]
    assert [(each["host"], each["hindrance"]) for each in leg["leftOut"]] == [("host-1", "no_price")]
    estimate = replace(POLICY, unpriced=nouns.Unpriced.ESTIMATE, estimate_pricing_id=nouns.PricingId(2))
    [leg_] = explain(question(rows, estimate)).legs
    assert [(each.host, "estimated by guess" in each.reason) for each in leg_.candidates] == [
        ("host-1", True), ("host-2", False),
    ]  # fmt: skip


def test_a_host_key_under_a_limit_of_cost_is_left_out_where_nothing_has_a_price() -> None:
    limit = nouns.RateLimit(nouns.RateLimitId(9), "usd", (nouns.Rule(nouns.Meter.COST, 1, 60),))
    rows = [limit, MODEL, *host(1, True, True)]
    limited = [replace(row, rate_limit_id=9) if getattr(row, "name", "") == "key-10" else row for row in rows]
    [leg] = explain(question(limited)).legs
    assert [each.host_key for each in leg.candidates] == ["key-11"]
    assert [(each.host_key, each.hindrance) for each in leg.left_out] == [("key-10", "no_price")]
