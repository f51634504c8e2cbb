"""Recorded streams through the translation: what the caller reads, however the bytes were cut on their way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_contract.errors import UpstreamProtocolError
from relay_contract.nouns import WireShape
from tests.edge.translating import (
    ANTHROPIC,
    GEMINI,
    HI,
    OPENAI,
    OTHER,
    RECORDINGS,
    RESPONSES,
    events,
    recording,
    response_of,
    to_other,
)
from tests.edge.vendor import CALLERS

NAMES = sorted(path.stem for path in RECORDINGS.glob("*.sse"))
BROKEN = {"anthropic_overloaded", "responses_failed", "gemini_overloaded", "gemini_malformed_call"}
WHOLE = [name for name in NAMES if name not in BROKEN]
SHAPES = {"anthropic": ANTHROPIC, "openai": OPENAI, "responses": RESPONSES, "gemini": GEMINI}


def shape_of(name: str) -> WireShape:
    return SHAPES[name.partition("_")[0]]


EACH_WAY = pytest.mark.parametrize(
    ("name", "caller"),
    [(name, caller) for name in WHOLE for caller in CALLERS if caller is not shape_of(name)],
)


def asked_of(caller: WireShape) -> dict[str, Any]:
    """A call for a stream, with usage."""
    return {"stream": True, **({"stream_options": {"include_usage": True}} if caller is OPENAI else {})}


def translated(
    stream: bytes,
    host: WireShape,
    *cuts: int,
    call: dict[str, Any] | None = None,
    caller: WireShape | None = None,
) -> bytes:
    """The caller's bytes for a host's, fed in pieces that end at `cuts`."""
    caller = caller or OTHER[host]
    stream_translation = to_other(caller, asked_of(caller) | (call or {}), host=host).stream()
    out, at = b"", 0
    for cut in [*sorted(cuts), len(stream)]:
        out += stream_translation.feed(stream[at:cut])
        at = cut
    return out + stream_translation.end()


def message_of(stream: bytes) -> dict[str, Any]:
    """A stream of Anthropic's put together, after checking the order that their clients rely on."""
    found = events(stream)
    assert all(name == document["type"] for name, document in found)
    kinds = [name for name, _ in found]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    message: dict[str, Any] = found[0][1]["message"]
    blocks: list[dict[str, Any]] = []
    is_open, arguments = False, ""
    for name, document in found[1:-2]:
        match name:
            case "content_block_start":
                assert not is_open
                assert document["index"] == len(blocks)
                blocks.append(document["content_block"])
                is_open, arguments = True, ""
            case "content_block_delta":
                assert is_open
                assert document["index"] == len(blocks) - 1
                delta = document["delta"]
                match delta["type"]:
                    case "input_json_delta":
                        assert blocks[-1]["type"] == "tool_use"
                        arguments += delta["partial_json"]
                    case "text_delta" | "thinking_delta" as kind:
                        assert blocks[-1]["type"] == kind.removesuffix("_delta")
                        blocks[-1][blocks[-1]["type"]] += delta[blocks[-1]["type"]]
                    case "signature_delta":
                        blocks[-1]["signature"] += delta["signature"]
            case "content_block_stop":
                assert is_open
                is_open = False
                if arguments:
                    blocks[-1]["input"] = json.loads(arguments)
            case other:
                assert other == "ping"
    assert not is_open
    message["content"] = blocks
    return message | found[-2][1]["delta"] | {"usage": found[-2][1]["usage"]}


def completion_of(stream: bytes) -> dict[str, Any]:
    """A stream of OpenAI's put together, after checking what their clients rely on."""
    found = [document for _, document in events(stream)]
    assert found[-1] == "[DONE]"
    chunks = found[:-1]
    assert {(c["id"], c["created"], c["model"], c["object"]) for c in chunks} == {
        (chunks[0]["id"], 1_700_000_000, "m", "chat.completion.chunk")
    }
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    message: dict[str, Any] = {"id": chunks[0]["id"], "tool_calls": []}
    for chunk in chunks:
        if not chunk["choices"]:
            assert chunk is chunks[-1]
            message["usage"] = chunk["usage"]
            continue
        (choice,) = chunk["choices"]
        assert "finish_reason" not in message, "a chunk after the last one"
        delta = choice["delta"]
        for name in ("content", "refusal", "reasoning_content"):
            if name in delta:
                message[name] = message.get(name, "") + delta[name]
        message.setdefault("thinking_blocks", []).extend(delta.get("thinking_blocks", []))
        for call in delta.get("tool_calls", []):
            if "id" in call:
                assert call["index"] == len(message["tool_calls"])
                assert call["function"]["arguments"] == ""
                message["tool_calls"].append([call["id"], call["function"]["name"], ""])
            else:
                assert set(call) == {"index", "function"}
                message["tool_calls"][call["index"]][2] += call["function"]["arguments"]
        if choice["finish_reason"] is not None:
            assert delta == {}
            message["finish_reason"] = choice["finish_reason"]
            message["stop_sequence"] = choice.get("stop_sequence")
    return {name: value for name, value in message.items() if value not in ([], None)}


def usage(prompt: int, completion: int, **details: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **details}


TO_CHAT = {
    "anthropic_text": {
        "id": "chatcmpl-01Text", "content": "Grüß Gott 👋", "finish_reason": "stop",
        "usage": usage(132, 15, prompt_tokens_details={
            "cached_tokens": 100, "cache_write_tokens": 7, "cache_creation_token_details": {
                "ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3}}),
    },
    "anthropic_thinking_tools": {
        "id": "chatcmpl-01Think", "content": "Let me look.", "reasoning_content": "Two cities, two calls.",
        "thinking_blocks": [
            {"index": 0, "type": "thinking", "thinking": "Two cities, two calls.",
             "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk="},
            {"index": 1, "type": "redacted_thinking", "data": "EmwKAhgBEgy3va3p"}],
        "tool_calls": [
            ["toolu_01A", "get_weather", '{"location": "San Francisco \\u00e9"}'], ["toolu_01B", "now", "{}"],
            ["toolu_01C", "get_weather", '{"location":"Oslo"}']],
        "finish_reason": "tool_calls",
        "usage": usage(472, 89, completion_tokens_details={"reasoning_tokens": 20}),
    },
    "anthropic_signature_only": {
        "id": "chatcmpl-01Omitted", "content": "4", "finish_reason": "stop", "stop_sequence": "END",
        "thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "", "signature": "c2ln"}],
        "usage": usage(9, 30),
    },
    "anthropic_refusal": {
        "id": "chatcmpl-01No", "content": "First", "refusal": "I cannot help with that.",
        "finish_reason": "content_filter", "usage": usage(9, 3),
    },
    "anthropic_empty": {
        "id": "chatcmpl-01Empty", "content": "", "finish_reason": "stop", "usage": usage(9, 0),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in WHOLE if shape_of(name) is ANTHROPIC])
def test_anthropic_streams_for_callers_of_chat(name: str) -> None:
    """Rules 41, 43, 46 to 52, 62 to 64."""
    assert completion_of(translated(recording(name), ANTHROPIC)) == TO_CHAT[name]


def use(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def ends(reason: str, used: dict[str, Any]) -> dict[str, Any]:
    return {"stop_reason": reason, "stop_sequence": None, "usage": used}


def said(input_tokens: int, output_tokens: int, read: int = 0) -> dict[str, Any]:
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "cache_read_input_tokens": read,
            "output_tokens_details": {"thinking_tokens": 0}}  # fmt: skip


TO_MESSAGES = {
    "openai_text": {
        "id": "msg_Text", "content": [{"type": "text", "text": "Grüß Gott 👋"}], **ends("end_turn", said(32, 15, 100)),
    },
    "openai_tools": {
        "id": "msg_Tools", "content": [
            use("call_A", "get_weather", location="Tokyo"), use("call_B", "now"),
            use("call_C", "get_weather", location="Oslo")],
        **ends("tool_use", said(67, 31)),
    },
    "openai_interleaved": {
        "id": "msg_Mixed", "content": [use("call_A", "a", x=1), use("call_B", "b", y=2)],
        **ends("tool_use", said(5, 6)),
    },
    "openai_quirks": {
        "id": "msg_Odd", "content": [
            {"type": "thinking", "thinking": "Hm. Yes.", "signature": ""},
            use("call_chatcmplOdd_0", "a", x=1), use("call_B", "b", y=2), use("call_C", "b")],
        **ends("tool_use", {"input_tokens": 5, "output_tokens": 6}),
    },
    "openai_refusal": {
        "id": "msg_No", "content": [{"type": "text", "text": "I cannot help."}], **ends("refusal", said(9, 3)),
    },
    "openai_length": {
        "id": "msg_Long", "content": [{"type": "text", "text": "One"}], **ends("max_tokens", said(9, 1)),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in WHOLE if shape_of(name) is OPENAI])
def test_chat_streams_for_callers_of_messages(name: str) -> None:
    """Rules 42 to 44, 53 to 59."""
    message = message_of(translated(recording(name), OPENAI))
    assert message == {"type": "message", "role": "assistant", "model": "m", **TO_MESSAGES[name]}


@settings(max_examples=60, deadline=None)
@given(st.data())
@EACH_WAY
def test_the_same_however_it_is_cut(name: str, caller: WireShape, data: st.DataObject) -> None:
    """Rules 76 and 80: also inside a character, an escape, a line end; with any of the three line ends."""
    stream, host = recording(name), shape_of(name)
    expected = translated(stream, host, caller=caller)
    stream = stream.replace(b"\n", data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"])))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=30))
    assert translated(stream, host, *cuts, caller=caller) == expected


@EACH_WAY
def test_byte_by_byte(name: str, caller: WireShape) -> None:
    stream, host = recording(name), shape_of(name)
    assert translated(stream, host, *range(len(stream)), caller=caller) == translated(stream, host, caller=caller)


@settings(max_examples=60, deadline=None)
@given(st.data())
@EACH_WAY
def test_a_cut_stream_is_never_a_success(name: str, caller: WireShape, data: st.DataObject) -> None:
    """Rule 60: either the reason had come, or it is an error; the beginning is the beginning of the whole."""
    stream, host = recording(name), shape_of(name)
    whole = translated(stream, host, caller=caller)
    length = data.draw(st.integers(0, len(stream) - 1))
    cut = to_other(caller, asked_of(caller), host=host).stream()
    written = cut.feed(stream[:length])
    assert whole.startswith(written)
    try:
        written += cut.end()
    except UpstreamProtocolError:
        assert not cut.can_end
    else:
        assert {OPENAI: completion_of, RESPONSES: response_of, ANTHROPIC: message_of}[caller](written)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.sampled_from(CALLERS),
    st.lists(st.tuples(st.integers(0, 5_000), st.binary(max_size=3)), max_size=6),
)
def test_a_garbled_stream_ends_in_an_answer_or_an_error_of_the_host(
    name: str, caller: WireShape, spoils: list[tuple[int, bytes]]
) -> None:
    stream = bytearray(recording(name))
    for place, junk in spoils:
        at = place % len(stream)
        stream[at : at + len(junk)] = junk
    try:
        translated(bytes(stream), shape_of(name), caller=caller)
    except UpstreamProtocolError:
        return


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["delta", "index", "tool_calls", "function", "name", "arguments", "id", "content", "type",
                         "text", "finish_reason", "usage", "reasoning_details", "thinking_blocks", "message", "input",
                         "content_block", "partial_json", "stop_reason", "signature", "prompt_tokens_details",
                         "cache_creation", "server_tool_use", "call_id", "output", "summary", "encrypted_content",
                         "error", "code", "status", "incomplete_details", "reason", "input_tokens_details", "refusal",
                         "parts", "functionCall", "thoughtSignature", "finishReason", "args"]),
        inner, max_size=4), max_leaves=10,
)  # fmt: skip
KINDS = st.sampled_from(["message_start", "content_block_start", "content_block_delta", "content_block_stop",
                         "message_delta", "message_stop", "ping", "error", None, "response.created",
                         "response.output_item.added", "response.output_item.done", "response.output_text.delta",
                         "response.function_call_arguments.delta", "response.reasoning_summary_text.delta",
                         "response.refusal.delta", "response.completed", "response.incomplete",
                         "response.failed"])  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(list(SHAPES.values())),
    st.sampled_from(CALLERS),
    st.lists(st.tuples(KINDS, st.dictionaries(
        st.sampled_from(["choices", "usage", "delta", "content_block", "index", "message", "id", "error", "response",
                         "item", "output_index", "summary_index", "candidates", "usageMetadata",
                         "promptFeedback"]),
        JUNK | st.lists(
            st.dictionaries(
                st.sampled_from(["delta", "index", "message", "finish_reason", "content"]), JUNK, max_size=3),
            max_size=2), max_size=4)), max_size=6),
)  # fmt: skip
def test_a_hosts_nonsense_is_an_error_of_the_host(
    host: WireShape, caller: WireShape, documents: list[tuple[Any, Any]]
) -> None:
    stream = b"".join(b"data: %b\n\n" % json.dumps({"type": kind, **document}).encode() for kind, document in documents)
    try:
        translated(stream, host, caller=caller)
    except UpstreamProtocolError:
        return


# --- single rules ---


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: %b\n\n" % json.dumps({"id": "chatcmpl-1", "choices": [choice], **more}).encode()


def test_usage_is_hidden_from_a_caller_who_did_not_ask_for_it() -> None:
    """Rule 32."""
    stream = translated(recording("anthropic_text"), ANTHROPIC, call={"stream_options": None})
    assert b'"usage"' not in stream
    assert stream.endswith(b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')


def test_the_input_is_estimated_until_the_host_says_it() -> None:
    """Rules 53 and 58: the usage of the last event is the true one."""
    found = events(translated(recording("openai_text"), OPENAI))
    call = to_other(ANTHROPIC, {"stream": True})
    assert found[0][1]["message"]["usage"] == {"input_tokens": len(json.dumps(
        {"model": "m", "messages": [HI], "max_tokens": 100, "stream": True})) // 4, "output_tokens": 0}  # fmt: skip
    assert found[-2][1]["usage"]["input_tokens"] == 32
    assert call.is_stream


def test_a_stream_without_usage_gets_an_estimate() -> None:
    """Rule 66: four characters a token."""
    message = message_of(translated(chunk({"content": "hello"}, "stop"), OPENAI))
    asked = {"model": "m", "messages": [HI], "max_tokens": 100, "stream": True}
    assert message["usage"] == {"input_tokens": len(json.dumps(asked)) // 4, "output_tokens": 2}


def test_nothing_comes_out_before_the_first_content() -> None:
    """Rules 61 and 72: a greeting and pings are no content."""
    stream = recording("anthropic_text")
    greeting = stream.index(b"event: content_block_delta")
    translation = to_other(OPENAI, {"stream": True}).stream()
    assert translation.feed(stream[:greeting]) == b""
    assert not translation.has_content
    rest = translation.feed(stream[greeting:])
    assert completion_of(rest)["content"] == "Grüß Gott 👋"


def test_pings_pass_once_there_is_content() -> None:
    """Rule 61."""
    translation = to_other(OPENAI, {"stream": True}).stream()
    stream = recording("anthropic_text")
    translation.feed(stream[: stream.index(b"event: content_block_stop")])
    assert translation.feed(b'event: ping\ndata: {"type": "ping"}\n\n') == b": ping\n\n"


def test_an_error_inside_a_stream_ends_it() -> None:
    """Rule 72."""
    translation = to_other(OPENAI, {"stream": True}).stream()
    written = translation.feed(recording("anthropic_overloaded"))
    assert translation.failed is not None
    assert (translation.failed.kind, translation.failed.message) == ("overloaded_error", "Overloaded")
    assert b"DONE" not in written
    assert translation.feed(b'event: message_stop\ndata: {"type": "message_stop"}\n\n') == b""
    chat = to_other(ANTHROPIC, {"stream": True}).stream()
    chat.feed(b'data: {"error": {"message": "slow down", "code": "rate_limited"}}\n\n')
    assert chat.failed is not None
    assert chat.failed.kind == "rate_limited"


@pytest.mark.parametrize(("garbled", "is_whole"), [(1, True), (2, False)])
def test_one_garbled_event_is_skipped_and_no_second_one(garbled: int, is_whole: bool) -> None:
    stream = recording("openai_text").replace(b"data:", b'data: {"id": "ga\n\n' * garbled + b"data:", 1)
    if is_whole:
        assert translated(stream, OPENAI) == translated(recording("openai_text"), OPENAI)
    else:
        with pytest.raises(UpstreamProtocolError):
            translated(stream, OPENAI)


def test_no_text_block_before_a_call_of_a_tool() -> None:
    """Rule 54."""
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    stream = chunk({"role": "assistant", "content": ""}) + chunk({"tool_calls": [call]}) + chunk({}, "tool_calls")
    assert message_of(translated(stream, OPENAI))["content"] == [use("a", "f")]


@pytest.mark.parametrize(
    ("calls", "reason", "expected"),
    [(1, "stop", "tool_use"), (0, "tool_calls", "end_turn"), (1, "length", "max_tokens"), (0, "odd", "end_turn"),
     (0, "content_filter", "refusal")],
)  # fmt: skip
def test_what_was_seen_counts_more_than_what_is_said(calls: int, reason: str, expected: str) -> None:
    """Rules 43 and 44."""
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    stream = chunk({"content": "x"}) + chunk({"tool_calls": [call] * calls}) + chunk({}, reason)
    assert message_of(translated(stream, OPENAI))["stop_reason"] == expected


def test_a_call_that_goes_on_after_it_was_whole_is_an_error() -> None:
    """Rule 55: a block that was closed cannot be opened again, so this is no answer."""
    first, second = ({"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}} for n in (0, 1))
    more = {"index": 0, "function": {"arguments": ",1"}}
    with pytest.raises(UpstreamProtocolError):
        translated(chunk({"tool_calls": [first, second, more]}) + chunk({}, "tool_calls"), OPENAI)


def test_calls_that_wait_are_bounded() -> None:
    """Rule 55."""
    first = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x": '}}
    second = {"index": 1, "id": "b", "function": {"name": "f", "arguments": ""}}
    big = {"index": 1, "function": {"arguments": "1" * 1_000_000}}
    with pytest.raises(UpstreamProtocolError):
        translated(chunk({"tool_calls": [first, second]}) + chunk({"tool_calls": [big]}) * 5, OPENAI)


def test_names_of_tools_come_back_as_the_caller_wrote_them() -> None:
    """Rule 17, streamed and whole."""
    tools = {"tools": [{"type": "function", "function": {"name": "get.weather"}}]}
    translation = to_other(OPENAI, tools)
    sent_name = json.loads(translation.body)["tools"][0]["name"]
    assert sent_name != "get.weather"
    stream = recording("anthropic_thinking_tools").replace(b"get_weather", sent_name.encode())
    calls = completion_of(translated(stream, ANTHROPIC, call=tools))["tool_calls"]
    assert [name for _, name, _ in calls] == ["get.weather", "now", "get.weather"]
    whole = {"id": "msg_1", "content": [{"type": "tool_use", "id": "a", "name": sent_name, "input": {}}],
             "stop_reason": "tool_use"}  # fmt: skip
    message = json.loads(translation.whole(json.dumps(whole).encode()))["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["name"] == "get.weather"


def test_an_answer_by_schema_through_a_tool_reads_like_words() -> None:
    """Rule 29, streamed and whole."""
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    translation = to_other(OPENAI, {"response_format": schema, "stream": True}, "claude-3-5-sonnet-latest")
    stream = recording("anthropic_thinking_tools").replace(b'"get_weather"', b'"relay_json_answer"', 1)
    stream = stream[: stream.index(b'event: content_block_start\ndata: {"type": "content_block_start", "index": 4')]
    stream += b'data: {"type":"message_delta","delta":{"stop_reason":"tool_use"}}\n\ndata: {"type":"message_stop"}\n\n'
    read = completion_of(translation.stream().feed(stream))
    assert (read["content"], read["finish_reason"]) == ('Let me look.{"location": "San Francisco \\u00e9"}', "stop")
    assert "tool_calls" not in read
    whole = {"content": [{"type": "tool_use", "id": "a", "name": "relay_json_answer", "input": {"a": 1}}],
             "stop_reason": "tool_use"}  # fmt: skip
    whole_translation = to_other(OPENAI, {"response_format": schema}, "claude-3-5-sonnet-latest")
    choice = json.loads(whole_translation.whole(json.dumps(whole).encode()))["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"a":1}', "stop")
