"""What Gemini's hosts answer, for callers of either shape: whole, streamed, however it was cut, and errors."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_contract import usage as contract
from relay_contract.errors import UpstreamProtocolError
from relay_contract.nouns import WireShape
from relay_edge.protocols.canonical import Usage
from relay_edge.protocols.gathered import Gathering, events_of
from relay_edge.protocols.gemini.read_answer import StreamReader, read_answer
from relay_edge.protocols.gemini.read_error import read_error
from relay_edge.protocols.gemini.usage import read_usage
from relay_edge.protocols.sse import EventReader
from tests.edge.test_translation_answers import JUNK
from tests.edge.test_translation_streams import completion_of, ends, message_of, usage, use
from tests.edge.translating import (
    ANTHROPIC,
    GEMINI,
    HI,
    OPENAI,
    RECORDINGS,
    RESPONSES,
    events,
    recording,
    response_of,
    sent,
    to_host,
)
from tests.edge.vendor import CALLERS

BROKEN = {"gemini_malformed_call", "gemini_overloaded"}
WHOLE = sorted(path.stem for path in RECORDINGS.glob("gemini_*.sse") if path.stem not in BROKEN)
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA/2b3hGg+xBd=="
OLD_IDS = ("call_26c6678f7ff454b0d521_0", "call_26c6678f7ff454b0d521_1")


def asked(shape: WireShape, **fields: Any) -> dict[str, Any]:
    return fields | ({"stream_options": {"include_usage": True}} if shape is OPENAI and fields.get("stream") else {})


def translated(name: str, shape: WireShape, *cuts: int, stream: bytes | None = None) -> bytes:
    """The caller's bytes for a recording's, fed in pieces that end at `cuts`."""
    stream = recording(name) if stream is None else stream
    translation = to_host(shape, GEMINI, asked(shape, stream=True)).stream()
    out, at = b"", 0
    for cut in [*sorted(cuts), len(stream)]:
        out += translation.feed(stream[at:cut])
        at = cut
    return out + translation.end()


def block(slot: str, signature: str, text: str = "", **more: Any) -> dict[str, Any]:
    return {**more, "type": "thinking", "thinking": text, "signature": f"gemini:{slot}:{signature}"}


def thought(**more: Any) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": more.pop("reasoning")}, **more}


TO_CHAT = {
    "gemini_text": {
        "id": "chatcmpl-Gem1", "content": "Grüß Gott 👋", "finish_reason": "stop",
        "usage": usage(132, 15, prompt_tokens_details={"cached_tokens": 100}),
    },
    "gemini_thinking_tools": {
        "id": "chatcmpl-Gem1", "content": "Let me look.", "reasoning_content": "Two cities, two calls.",
        "thinking_blocks": [block("call.fc1", SIGNATURE, index=0)],
        "tool_calls": [["fc1", "get_weather", '{"location":"Tokyo","days":1.50}'],
                       ["fc2", "get_weather", '{"location":"Oslo"}'], ["fc3", "now", "{}"]],
        "finish_reason": "tool_calls", "usage": usage(72, 55, **thought(reasoning=20)),
    },
    "gemini_old_calls": {
        "id": "chatcmpl-Gem1", "content": "",
        "tool_calls": [[OLD_IDS[0], "now", "{}"], [OLD_IDS[1], "now", "{}"]],
        "finish_reason": "tool_calls", "usage": usage(8, 6),
    },
    "gemini_signed_text": {
        "id": "chatcmpl-Gem1", "content": "4", "thinking_blocks": [block("text", "c2lnbmVk", index=0)],
        "finish_reason": "stop", "usage": usage(9, 30, **thought(reasoning=29)),
    },
    "gemini_length": {"id": "chatcmpl-Gem1", "content": "One", "finish_reason": "length", "usage": usage(9, 1)},
    "gemini_safety": {
        "id": "chatcmpl-Gem1", "content": "First", "finish_reason": "content_filter", "usage": usage(9, 3),
    },
    "gemini_blocked": {"id": "chatcmpl-Gem1", "content": "", "finish_reason": "content_filter", "usage": usage(9, 0)},
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_streams_for_callers_of_chat(name: str) -> None:
    assert completion_of(translated(name, OPENAI)) == TO_CHAT[name]


def said(input_tokens: int, output_tokens: int, **more: int) -> dict[str, Any]:
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, **more}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


TO_MESSAGES = {
    "gemini_text": {"content": [words("Grüß Gott 👋")],
                    **ends("end_turn", said(32, 15, cache_read_input_tokens=100))},
    "gemini_thinking_tools": {
        "content": [
            {"type": "thinking", "thinking": "Two cities, two calls.", "signature": ""}, words("Let me look."),
            block("call.fc1", SIGNATURE), use("fc1", "get_weather", location="Tokyo", days=1.5),
            use("fc2", "get_weather", location="Oslo"), use("fc3", "now")],
        **ends("tool_use", said(72, 55) | {"output_tokens_details": {"thinking_tokens": 20}}),
    },
    "gemini_old_calls": {"content": [use(OLD_IDS[0], "now"), use(OLD_IDS[1], "now")],
                         **ends("tool_use", said(8, 6))},
    "gemini_signed_text": {
        "content": [words("4"), block("text", "c2lnbmVk")],
        **ends("end_turn", said(9, 30) | {"output_tokens_details": {"thinking_tokens": 29}}),
    },
    "gemini_length": {"content": [words("One")], **ends("max_tokens", said(9, 1))},
    "gemini_safety": {"content": [words("First")], **ends("refusal", said(9, 3))},
    "gemini_blocked": {"content": [], **ends("refusal", said(9, 0))},
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_streams_for_callers_of_messages(name: str) -> None:
    expected = {"id": "msg_Gem1", "type": "message", "role": "assistant", "model": "m", **TO_MESSAGES[name]}
    assert message_of(translated(name, ANTHROPIC)) == expected


BOTH = pytest.mark.parametrize("shape", [OPENAI, ANTHROPIC])


@settings(max_examples=40, deadline=None)
@given(st.data())
@BOTH
@pytest.mark.parametrize("name", WHOLE)
def test_the_same_however_it_is_cut(name: str, shape: WireShape, data: st.DataObject) -> None:
    """Rule 76: also inside a character, an escape, a line end; with any of the three line ends."""
    stream = recording(name).replace(b"\r\n", data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"])))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=30))
    assert translated(name, shape, *cuts, stream=stream) == translated(name, shape)


@settings(max_examples=40, deadline=None)
@given(st.data())
@BOTH
@pytest.mark.parametrize("name", WHOLE)
def test_a_cut_stream_is_never_a_success(name: str, shape: WireShape, data: st.DataObject) -> None:
    """Rule 60: there is no mark of the end, so a stream is whole once the reason to stop came, and not before."""
    stream = recording(name)
    reason = min(place for word in (b'"finishReason"', b'"blockReason"') if (place := stream.find(word)) >= 0)
    length = data.draw(st.integers(0, reason))
    with pytest.raises(UpstreamProtocolError):
        translated(name, shape, stream=stream[:length])


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_the_model_or_the_host_failed_at_is_a_failure(name: str) -> None:
    translation = to_host(OPENAI, GEMINI, {"stream": True}).stream()
    written = translation.feed(recording(name))
    assert b"DONE" not in written
    assert b'finish_reason":"' not in written
    assert translation.failed is not None
    assert translation.failed.kind in ("malformed_function_call", "unavailable")


@BOTH
@pytest.mark.parametrize("name", WHOLE)
def test_whole_and_streamed_say_the_same(name: str, shape: WireShape) -> None:
    """A stream that was asked for and came as a document, and the other way round."""
    reader, gathering, parser = StreamReader(), Gathering(), EventReader()
    for event in [*parser.feed(recording(name)), *parser.end()]:
        for told in reader.feed(event):
            gathering.add(told)
    answer = gathering.answer()
    again = Gathering()
    for told in events_of(answer):
        again.add(told)
    assert again.answer() == answer
    as_document = to_host(shape, GEMINI, asked(shape)).whole(recording(name), is_event_stream=True)
    put_together = completion_of if shape is OPENAI else message_of
    streamed: dict[str, Any] = put_together(translated(name, shape))
    whole = json.loads(as_document)
    if shape is ANTHROPIC:
        assert whole == streamed
    else:
        assert whole["usage"] == streamed["usage"]
        assert whole["choices"][0]["finish_reason"] == streamed["finish_reason"]
        assert (whole["choices"][0]["message"]["content"] or "") == streamed["content"]


@BOTH
def test_a_document_where_a_stream_was_asked_for_becomes_one(shape: WireShape) -> None:
    parts = [
        {"text": "hm", "thought": True},
        {"text": "one"},
        {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}},
    ]
    body = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "responseId": "r",
            "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 6, "thoughtsTokenCount": 1}}  # fmt: skip
    stream = to_host(shape, GEMINI, asked(shape, stream=True)).whole(json.dumps(body).encode())
    if shape is OPENAI:
        assert completion_of(stream) == {
            "id": "chatcmpl-r", "content": "one", "reasoning_content": "hm", "finish_reason": "tool_calls",
            "tool_calls": [["a", "f", '{"x":1}']], "usage": usage(5, 7, **thought(reasoning=1)),
        }  # fmt: skip
    else:
        message = message_of(stream)
        assert message["content"] == [
            {"type": "thinking", "thinking": "hm", "signature": ""}, words("one"), use("a", "f", x=1)]  # fmt: skip
        assert message["stop_reason"] == "tool_use"
        assert message["usage"]["output_tokens"] == 7


@BOTH
def test_signatures_come_back_on_their_parts(shape: WireShape) -> None:
    """The answer sent back with its results is what Gemini said, signature and all."""
    if shape is OPENAI:
        whole = json.loads(to_host(shape, GEMINI, {}).whole(recording("gemini_thinking_tools"), is_event_stream=True))
        message = whole["choices"][0]["message"]
        results: list[Any] = [{"role": "tool", "tool_call_id": c["id"], "content": "ok"} for c in message["tool_calls"]]
    else:
        message = message_of(translated("gemini_thinking_tools", shape))
        message = {"role": "assistant", "content": message["content"]}
        results = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": b["id"], "content": "ok"}
                                                for b in message["content"] if b["type"] == "tool_use"]}]  # fmt: skip
    back = sent(to_host(shape, GEMINI, {"messages": [HI, message, *results]}))
    model = back["contents"][1]["parts"]
    assert [part for part in model if "thought" not in part] == [
        {"text": "Let me look."},
        {"functionCall": {"name": "get_weather", "args": {"location": "Tokyo", "days": 1.5}, "id": "fc1"},
         "thoughtSignature": SIGNATURE},
        {"functionCall": {"name": "get_weather", "args": {"location": "Oslo"}, "id": "fc2"}},
        {"functionCall": {"name": "now", "args": {}, "id": "fc3"}},
    ]  # fmt: skip


def test_signatures_come_back_from_callers_of_responses() -> None:
    stream = to_host(RESPONSES, GEMINI, {"stream": True}).stream()
    output = response_of(stream.feed(recording("gemini_thinking_tools")) + stream.end())["output"]
    encrypted = [item["encrypted_content"] for item in output if "encrypted_content" in item]
    assert encrypted == [f"gemini:call.fc1:{SIGNATURE}"]
    results = [{"type": "function_call_output", "call_id": item["call_id"], "output": "ok"}
               for item in output if item["type"] == "function_call"]  # fmt: skip
    asked = {"input": [HI, *output, *results]}
    parts = sent(to_host(RESPONSES, GEMINI, asked))["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts if "functionCall" in part] == [SIGNATURE, None, None]
    for host in (OPENAI, ANTHROPIC):
        assert SIGNATURE.encode() not in to_host(RESPONSES, host, asked).body


@pytest.mark.parametrize("shape", CALLERS)
def test_what_was_used_and_why_it_ended_is_kept(shape: WireShape) -> None:
    """For the call's record: figures as the host said them, whatever the caller is told."""
    used = Usage(input_uncached=72, output=55, reasoning=20)
    stream = to_host(shape, GEMINI, asked(shape, stream=True)).stream()
    assert (stream.usage, stream.finish, stream.delivered_characters) == (None, "", 0)
    stream.feed(recording("gemini_thinking_tools"))
    assert (stream.usage, stream.finish) == (used, "tool_use")
    assert stream.delivered_characters == len(
        'Two cities, two calls.Let me look.{"location":"Tokyo","days":1.50}{"location":"Oslo"}{}'
    )
    whole = to_host(shape, GEMINI, {})
    whole.whole(recording("gemini_thinking_tools"), is_event_stream=True)
    assert (whole.usage, whole.finish) == (used, "tool_use")


def test_an_estimate_is_not_what_a_host_said() -> None:
    body = {"candidates": [{"content": {"parts": [{"text": "hello"}]}, "finishReason": "MAX_TOKENS"}]}
    stream, whole = to_host(OPENAI, GEMINI, asked(OPENAI, stream=True)).stream(), to_host(OPENAI, GEMINI, {})
    written = stream.feed(b"data: %b\n\n" % json.dumps(body).encode()) + stream.end()
    assert completion_of(written)["usage"]["completion_tokens"] == 2
    assert (stream.usage, stream.finish, stream.delivered_characters) == (None, "length", 5)
    assert json.loads(whole.whole(json.dumps(body).encode()))["usage"]["completion_tokens"] == 2
    assert (whole.usage, whole.finish) == (None, "length")


def test_a_whole_answers_figures() -> None:
    body = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}], "usageMetadata": {
        "promptTokenCount": 9, "candidatesTokenCount": 7,
        "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 4}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}]}}  # fmt: skip
    meters = contract.Usage(input_tokens=5, input_image_tokens=4, output_tokens=2, output_audio_tokens=5)
    usage = read_answer(json.dumps(body).encode()).usage
    assert usage.meters() == meters


def test_the_same_id_twice_is_two_ids() -> None:
    """Rule 22: what comes back has to match, so one function called twice must differ."""
    call = {"functionCall": {"id": "f", "name": "f", "args": {}}}
    body = {"candidates": [{"content": {"parts": [call] * 3}, "finishReason": "STOP"}], "responseId": "r"}
    message = json.loads(to_host(OPENAI, GEMINI, {}).whole(json.dumps(body).encode()))["choices"][0]["message"]
    ids = [made["id"] for made in message["tool_calls"]]
    assert (ids[0], len(set(ids))) == ("f", 3)
    results = [{"role": "tool", "tool_call_id": call_id, "content": "ok"} for call_id in ids]
    assert to_host(OPENAI, GEMINI, {"messages": [HI, message, *results]})


def test_geminis_signature_is_never_shown_to_claude() -> None:
    message = {"role": "assistant", "content": [block("text", "c2ln"), words("a")]}
    there = {"role": "assistant", "content": "a", "thinking_blocks": [block("text", "c2ln")]}
    document = sent(to_host(OPENAI, ANTHROPIC, {"messages": [HI, there, HI]}))
    assert "gemini:" not in json.dumps(document)
    assert message["content"][0]["signature"] not in json.dumps(sent(to_host(ANTHROPIC, OPENAI, {"messages": [
        HI, message, HI]})))  # fmt: skip


USAGES: dict[str, tuple[dict[str, Any], Usage]] = {
    "plain": ({"promptTokenCount": 10, "candidatesTokenCount": 5}, Usage(input_uncached=10, output=5)),
    "a cache that was read": (
        {"promptTokenCount": 100, "cachedContentTokenCount": 90, "candidatesTokenCount": 5},
        Usage(input_uncached=10, cache_read=90, output=5),
    ),
    "thoughts are not in the candidates' tokens": (
        {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 40},
        Usage(input_uncached=10, output=45, reasoning=40),
    ),
    "only thoughts": ({"promptTokenCount": 10, "thoughtsTokenCount": 40},
                      Usage(input_uncached=10, output=40, reasoning=40)),
    "what tools brought": ({"promptTokenCount": 10, "toolUsePromptTokenCount": 7}, Usage(input_uncached=17)),
    "sound and pictures": (
        {"promptTokenCount": 100, "cachedContentTokenCount": 30, "candidatesTokenCount": 9,
         "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 20}, {"modality": "AUDIO", "tokenCount": 60},
                                 {"modality": "IMAGE", "tokenCount": 20}],
         "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}],
         "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 4}]},
        Usage(input_uncached=70, cache_read=30, output=9, audio_input=30, image_input=20, image_output=4),
    ),
    "nothing": ({}, Usage()),
    "no figures": ({"promptTokenCount": "9", "candidatesTokenCount": -1, "promptTokensDetails": 5,
                    "candidatesTokensDetails": [{"modality": "AUDIO"}, 3]}, Usage()),
}  # fmt: skip


@pytest.mark.parametrize("case", USAGES)
def test_usage(case: str) -> None:
    """Rules 62 to 64."""
    document, meant = USAGES[case]
    assert read_usage(document) == meant


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"), ("PROHIBITED_CONTENT", "content_filter"), ("SPII", "content_filter"),
        ("OTHER", "stop"), ("SOMETHING_NEW", "stop"),
    ],
)  # fmt: skip
def test_reasons_to_stop(reason: str, finish: str) -> None:
    body = json.dumps({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": reason}]}).encode()
    assert json.loads(to_host(OPENAI, GEMINI, {}).whole(body))["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize(
    "reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE"]
)
def test_a_call_that_the_model_garbled_is_tried_again(reason: str) -> None:
    body = {"candidates": [{"content": {}, "finishReason": reason}]}
    with pytest.raises(UpstreamProtocolError, match=reason.lower()):
        read_answer(json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"candidates": []}', b'{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}',
     b'{"candidates": [{"content": {"parts": [{"functionCall": {"args": {}}}]}, "finishReason": "STOP"}]}',
     b'{"candidates": [{"content": {"parts": [{"functionCall": {"name": "a", "args": [1]}}]}}]}'],
)  # fmt: skip
def test_what_is_no_answer_is_an_error_of_the_host(body: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        read_answer(body)


def rpc(code: int, status: str, message: str = "m", *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


ERROR_INFO = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "googleapis.com"}
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
TOO_LONG = "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."
ERRORS: list[tuple[int, Any, int, str | None, float | None]] = [
    (400, rpc(400, "INVALID_ARGUMENT", "bad"), 400, "invalid_argument", None),
    (400, rpc(400, "INVALID_ARGUMENT", "API key not valid.", ERROR_INFO | {"reason": "API_KEY_INVALID"}), 401,
     "upstream_credentials", None),
    (400, rpc(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), 403,
     "upstream_credentials", None),
    (400, rpc(400, "INVALID_ARGUMENT", TOO_LONG), 400, "context_length_exceeded", None),
    (429, rpc(429, "RESOURCE_EXHAUSTED", "quota", {"@type": "x"}, RETRY_INFO), 429, "rate_limit_exceeded", 34.5),
    (404, rpc(404, "NOT_FOUND"), 404, "model_not_found", None),
    (503, [rpc(503, "UNAVAILABLE")], 503, "overloaded", None),
    (500, "teapot", 500, None, None),
    (429, rpc(429, "RESOURCE_EXHAUSTED", "m", {"retryDelay": "soon"}), 429, "rate_limit_exceeded", None),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "expected", "code", "seconds"), ERRORS)
def test_errors(status: int, body: Any, expected: int, code: str | None, seconds: float | None) -> None:
    """Rules 67 to 71. A wrong key is 400 at Gemini, and still nobody's business but ours."""
    found = read_error(status, json.dumps(body).encode())
    assert (found.status, found.code, found.retry_after_seconds) == (expected, code, seconds)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([OPENAI, ANTHROPIC]), JUNK, st.lists(st.tuples(
    st.sampled_from(["candidates", "promptFeedback", "usageMetadata", "error", "responseId"]),
    st.recursive(st.none() | st.integers(-5, 5) | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3)
                 | st.dictionaries(st.sampled_from(
                     ["content", "parts", "text", "thought", "thoughtSignature", "functionCall", "name", "args", "id",
                      "finishReason", "finishMessage", "blockReason", "details", "reason", "index", "modality",
                      "tokenCount", "promptTokensDetails", "retryDelay"]), inner, max_size=4), max_leaves=12)),
    max_size=4))  # fmt: skip
def test_a_hosts_nonsense_is_an_error_of_the_host(shape: Any, junk: Any, fields: list[tuple[str, Any]]) -> None:
    documents = [
        dict(fields),
        {"candidates": [{"content": {"parts": [junk]}, "finishReason": "STOP"}]},
        {"error": junk},
    ]
    for document in documents:
        body = json.dumps(document).encode()
        with contextlib.suppress(UpstreamProtocolError):
            json.loads(to_host(shape, GEMINI, {}).whole(body))
        json.loads(to_host(shape, GEMINI, {}).refusal(400, body, "q")[1])
    stream = b"".join(b"data: %b\n\n" % json.dumps(document).encode() for document in documents)
    with contextlib.suppress(UpstreamProtocolError):
        events(translated("", shape, stream=stream))
