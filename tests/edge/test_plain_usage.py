"""The short way to a chat completion's usage: it agrees with the long one, and leaves to it what it does not know."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_contract.usage import Usage
from relay_edge.protocols.openai_chat.plain_usage import read_plain
from relay_edge.protocols.openai_chat.watch import ChatWatch

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "hi", "refusal": None}, "finish_reason": "stop"}
USED = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def body(choice: Any = None, used: Any = None, **more: Any) -> bytes:
    return json.dumps({"choices": [CHOICE | (choice or {})], "usage": USED | (used or {}), **more}).encode()


def test_an_ordinary_answer() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0}}
    made = {"completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 0}}
    found = read_plain(body(used=details | made))
    assert found == (Usage(input_tokens=5, cache_read_tokens=4, output_tokens=3, reasoning_tokens=2), "end")
    assert read_plain(body({"finish_reason": "length"})) == (Usage(input_tokens=9, output_tokens=3), "length")


@pytest.mark.parametrize(
    "unusual",
    [
        b"",
        b"[]",
        b'{"choices":[]}',
        body().replace(b'"stop"', b'"tool_calls"'),
        body(choice={"message": {"tool_calls": [{"function": {"arguments": "{}"}}]}}),
        body(choice={"message": {"refusal": "no"}}),
        body(used={"prompt_tokens": -1}),
        body(used={"prompt_tokens": 1.5}),
        body(used={"completion_tokens": 10**13}),
        body(used={"prompt_tokens_details": {"cached_tokens": 10}}),
        body(used={"prompt_tokens_details": {"audio_tokens": 1}}),
        body(used={"prompt_tokens_details": {"cache_write_tokens": 1}}),
        body(used={"completion_tokens_details": {"audio_tokens": 1}}),
        body(used={"prompt_cache_hit_tokens": 1}),
        body(used={"cache_creation_input_tokens": 1}),
        body(error={"message": "x"}),
        json.dumps({"choices": [CHOICE, CHOICE], "usage": USED}).encode(),
        json.dumps({"choices": [CHOICE]}).encode(),
        b"[" * 100_000,
    ],
)
def test_what_is_unusual_is_left_to_the_watch(unusual: bytes) -> None:
    assert read_plain(unusual) is None


counts = st.none() | st.integers(-1, 20) | st.sampled_from([10**12, 10**12 + 1, 1.5, "3", True])
details = st.none() | st.dictionaries(
    st.sampled_from(["cached_tokens", "audio_tokens", "cache_write_tokens", "reasoning_tokens"]), counts
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["prompt_tokens", "completion_tokens", "prompt_cache_hit_tokens", "cache_creation_input_tokens"]
        ),
        counts,
    ),
    details,
    details,
    st.sampled_from(["stop", "length", "tool_calls", "content_filter", "function_call", "odd", "", None]),
    st.sampled_from([None, [], [{"function": {"arguments": "{}"}}]]),
)
def test_it_agrees_with_the_watch(used: Any, prompt: Any, made: Any, reason: Any, calls: Any) -> None:
    figures = {**used, "prompt_tokens_details": prompt, "completion_tokens_details": made}
    document = body({"finish_reason": reason, "message": {"content": "hi", "tool_calls": calls}}, figures)
    found = read_plain(document)
    watch = ChatWatch(False)
    watch.see_whole(document)
    assert found is None or found == (watch.usage, watch.finish)
