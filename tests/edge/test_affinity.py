"""Conversations keep their host key: how one is recognised, and how its key is chosen."""

import json
import random
from collections import Counter
from typing import Any

import pytest

from relay_edge.affinity import choose, salt
from relay_edge.protocols.conversation_key import conversation_key

WORDS = 'a "quoted" word, a \\ and a }, [ or { in it, ünïcode, "role": "user" and \n lines '


def conversations(count: int) -> list[bytes]:
    """As many different ones, named as requests name them."""
    found = [
        conversation_key(json.dumps({"messages": [{"role": "user", "content": f"Question {number}"}]}).encode())
        for number in range(count)
    ]
    assert None not in found
    assert len(set(found)) > count * 0.999
    return [each for each in found if each is not None]


def encoded(document: object, spaced: bool) -> bytes:
    return json.dumps(document, ensure_ascii=spaced, separators=None if spaced else (",", ":")).encode()


def turn(role: str, text: str, form: int) -> dict[str, Any]:
    """A message in one of the forms that SDKs write."""
    match form:
        case 0:
            return {"role": role, "content": text}
        case 1:
            return {"content": text, "role": role}
        case _:
            return {"role": role, "content": [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]}


def random_text(chance: random.Random) -> str:
    return WORDS * chance.choice((0, 1, 1, 2, 40)) + str(chance.random())


@pytest.mark.parametrize("form", [0, 1, 2])
@pytest.mark.parametrize("spaced", [True, False])
def test_a_growing_conversation_keeps_its_key(form: int, spaced: bool) -> None:
    chance = random.Random(form)
    keys = []
    for number in range(60):
        first = [turn("system", random_text(chance), form)] if number % 3 else []
        messages = [*first, turn("user", f"{number} {random_text(chance)}", form)]
        around = {"model": "m", "messages": messages, "tools": [{"name": "f", "user": {"type": "object"}}]}
        key = conversation_key(encoded(around, spaced))
        for _ in range(6):
            messages.append(turn("assistant", random_text(chance), form))
            messages.append(turn("user", random_text(chance), form))
            assert conversation_key(encoded(around, spaced)) == key
        keys.append(key)
    assert None not in keys
    assert len(set(keys)) == 60


def test_conversations_differ_in_their_first_question_behind_a_long_prompt_of_all() -> None:
    prompt = turn("system", WORDS * 100, 0)
    keys = {
        conversation_key(encoded({"messages": [prompt, turn("user", f"{number}", 0)]}, spaced=True))
        for number in range(100)
    }
    assert len(keys) == 100


def test_the_end_of_the_first_message_counts_and_nothing_behind_it() -> None:
    def key(*texts: str) -> bytes | None:
        return conversation_key(encoded({"messages": [turn("user", text, 0) for text in texts]}, spaced=True))

    assert key("a") == key("a", "b") == key("a", "c", "d")
    assert key("a") != key("b")
    assert key("x" * 300 + "a") != key("x" * 300 + "b")


def test_items_of_responses_are_a_conversation_too() -> None:
    def key(*texts: str) -> bytes | None:
        return conversation_key(encoded({"model": "m", "input": [turn("user", each, 0) for each in texts]}, True))

    assert key("a") == key("a", "b") != key("b")
    assert conversation_key(b'{"input":"a"}') != conversation_key(b'{"input":"b"}')


@pytest.mark.parametrize("name", ["prompt_cache_key", "user"])
@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_name_of_the_callers_counts_before_the_beginning(name: str, place: str) -> None:
    def key(value: str, text: str) -> bytes | None:
        messages, named = {"messages": [turn("user", text, 0)]}, {name: value}
        return conversation_key(encoded(named | messages if place == "before" else messages | named, True))

    assert key("ann", "a") == key("ann", "b")
    assert key("ann", "a") != key("bob", "a")


def test_anthropics_user_id_counts_and_the_cache_key_before_a_user() -> None:
    def key(text: str, **around: object) -> bytes | None:
        return conversation_key(encoded({"messages": [turn("user", text, 0)], **around}, spaced=False))

    assert key("a", metadata={"user_id": "u1"}) == key("b", metadata={"user_id": "u1"})
    assert key("a", metadata={"user_id": "u1"}) != key("a", metadata={"user_id": "u2"})
    assert key("a", user="u1", prompt_cache_key="k") == key("b", user="u2", prompt_cache_key="k")


def test_a_tools_input_in_the_last_message_is_no_name() -> None:
    """Anthropic's tool calls are JSON, not text: a field `user` of theirs comes and goes."""
    first = turn("user", "who?", 0)
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"user": "bob"}}]}
    before = conversation_key(encoded({"messages": [first]}, spaced=False))
    assert conversation_key(encoded({"messages": [first, call]}, spaced=False)) == before


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[]", b"null", b'"messages"', b'{"messages":1}', b'{"messages":', b'{"messages":[',
        b'{"messages":[{"role"', b'{"messages":[{"role":"user"', b'{"messages":[{"role":"user","content":"',
        b'{"user":', b'{"user":1,"messages":[]}', b'{"messages":[{"role":"user"' + b"[" * 5000, b'"messages":' * 5000,
        b'{"messages":[{"role":"user","content":"' + b"\\" * 5001, b"\xff" * 5000, b'{"user":"' + b"\\" * 5000,
    ],
)  # fmt: skip
def test_any_bytes_are_taken(body: bytes) -> None:
    key = conversation_key(body)
    assert key is None or len(key) == 4


@pytest.mark.parametrize("count", [2, 3, 5, 8, 16])
def test_keys_share_conversations_evenly(count: int) -> None:
    salts = [salt(number) for number in range(1, count + 1)]
    shares = Counter(choose(each, salts) for each in conversations(20_000))
    fair = 20_000 / count
    assert {place for place, share in shares.items() if abs(share - fair) < 0.12 * fair} == set(range(count))


def test_a_weighted_share() -> None:
    salts, weights = [salt(number) for number in (1, 2, 3)], [1.0, 3.0, 0.0]
    shares = Counter(choose(each, salts, weights) for each in conversations(20_000))
    assert set(shares) == {0, 1}
    assert abs(shares[1] - 15_000) < 500
    assert set(shares) < set(Counter(choose(each, salts, [0.0, 0.0, 0.0]) for each in conversations(100)))


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_a_key_that_goes_moves_its_own_conversations_only(weights: list[float] | None) -> None:
    numbers = [11, 12, 13, 14, 15]
    salts = [salt(number) for number in numbers]
    for gone in range(5):
        left = [number for place, number in enumerate(numbers) if place != gone]
        salts_left = [salt(number) for number in left]
        weights_left = None if weights is None else [each for place, each in enumerate(weights) if place != gone]
        moved = 0
        for each in conversations(1_000):
            before = numbers[choose(each, salts, weights)]
            after = left[choose(each, salts_left, weights_left)]
            assert before in (after, numbers[gone])
            moved += before != after
        assert 0 < moved < 450
