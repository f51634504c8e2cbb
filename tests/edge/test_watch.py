"""Streams that pass untouched: what a watch notes, what it holds back, however the bytes were cut on their way."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_contract.nouns import WireShape
from relay_contract.usage import Usage
from relay_edge.protocols import SURFACES, canonical
from relay_edge.protocols.canonical import Failed, Finished, Started, UsageSeen
from relay_edge.protocols.event_watch import MAX_HELD_BYTES, StreamWatch
from relay_edge.protocols.openai_chat.watch import ChatWatch
from relay_edge.protocols.openai_responses.watch import ResponsesWatch
from relay_edge.protocols.sse import MAX_EVENT_BYTES, EventReader, data_event, named_event
from relay_edge.protocols.translation import CODECS
from relay_edge.protocols.watch import usage_of_body
from tests.edge.translating import ANTHROPIC, OPENAI, RECORDINGS

RESPONSES = WireShape.OPENAI_RESPONSES
WATCHED = Path(__file__).parent / "watched"
STREAMS = {path.stem: path.read_bytes() for place in (RECORDINGS, WATCHED) for path in sorted(place.glob("*.sse"))
           if not path.stem.startswith("gemini")}  # nobody calls in that shape  # fmt: skip
SHAPES = {"openai": OPENAI, "anthropic": ANTHROPIC, "responses": RESPONSES}


def shape_of(name: str) -> WireShape:
    return SHAPES[name.partition("_")[0]]


def watch_of(shape: WireShape, *, hides_usage: bool = False) -> StreamWatch:
    return ResponsesWatch(hides_usage) if shape is RESPONSES else SURFACES[shape].watch(hides_usage)


@dataclass(frozen=True)
class Seen:
    """Everything that a watch says."""

    written: bytes
    has_content: bool
    has_finished: bool
    has_ended: bool
    failed: Failed | None
    finish: str
    usage: Usage | None
    delivered_characters: int


def seen(watch: StreamWatch, *pieces: bytes) -> Seen:
    written = b"".join([watch.feed(piece) for piece in pieces])
    written += watch.end()
    return Seen(written, watch.has_content, watch.has_finished, watch.has_ended, watch.failed, watch.finish,
                watch.usage, watch.delivered_characters)  # fmt: skip


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(places)]


def chunk(delta: Any = None, reason: Any = None, **more: Any) -> bytes:
    return data_event(json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}).encode())


USED = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
USAGE_CHUNK = data_event(json.dumps({"choices": [], "usage": USED}).encode())
START, HI, STOP = chunk({"role": "assistant", "content": ""}), chunk({"content": "hi"}), chunk({}, "stop")
DONE = data_event(b"[DONE]")
GARBLED = data_event(b'{"choices":[{"ind')
ERROR = data_event(b'{"error":{"message":"Overloaded","type":"server_error","code":"overloaded"}}')

# --- recorded streams ---

# finish, characters, usage
EXPECTED: dict[str, tuple[str, int, Usage]] = {
    "anthropic_empty": ("end", 0, Usage(input_tokens=9)),
    "anthropic_refusal": ("refusal", 5, Usage(input_tokens=9, output_tokens=3)),
    "anthropic_signature_only": ("sequence", 1, Usage(input_tokens=9, output_tokens=30)),
    "anthropic_text": ("end", 11, Usage(input_tokens=25, cache_read_tokens=100, cache_write_5m_tokens=4,
                                        cache_write_1h_tokens=3, output_tokens=15)),
    "anthropic_thinking_tools": ("tool_use", 70, Usage(input_tokens=472, output_tokens=89, reasoning_tokens=20)),
    "anthropic_search": ("end", 19, Usage(input_tokens=10682, cache_read_tokens=5, cache_write_5m_tokens=6,
                                          cache_write_1h_tokens=3, output_tokens=510, server_tool_calls=1)),
    "openai_azure": ("end", 15, Usage(input_tokens=12, output_tokens=5)),
    "openai_choices": ("end", 3, Usage(input_tokens=7, output_tokens=3)),
    "openai_interleaved": ("tool_use", 14, Usage(input_tokens=5, output_tokens=6)),
    "openai_length": ("length", 3, Usage(input_tokens=9, output_tokens=1)),
    "openai_openrouter": ("end", 7, Usage(input_tokens=44, cache_read_tokens=50, cache_write_5m_tokens=100,
                                          output_tokens=2, reasoning_tokens=1)),
    "openai_quirks": ("tool_use", 24, Usage(input_tokens=5, output_tokens=6)),
    "openai_refusal": ("refusal", 14, Usage(input_tokens=9, output_tokens=3)),
    "openai_text": ("end", 11, Usage(input_tokens=32, cache_read_tokens=100, output_tokens=15)),
    "openai_tools": ("tool_use", 39, Usage(input_tokens=67, output_tokens=31)),
    "responses_empty": ("end", 0, Usage(input_tokens=9)),
    "responses_encrypted_only": ("end", 1, Usage(input_tokens=9, output_tokens=30, reasoning_tokens=28)),
    "responses_length": ("length", 3, Usage(input_tokens=9, output_tokens=16)),
    "responses_quirks": ("tool_use", 8, Usage(input_tokens=5, output_tokens=6, server_tool_calls=1)),
    "responses_reasoning_tools": ("tool_use", 102, Usage(input_tokens=472, output_tokens=89, reasoning_tokens=20)),
    "responses_refusal": ("refusal", 14, Usage(input_tokens=9, output_tokens=3)),
    "responses_text": ("end", 8, Usage(input_tokens=29, cache_read_tokens=8, output_tokens=11, reasoning_tokens=4)),
    "responses_call": ("tool_use", 7, Usage(input_tokens=29, cache_read_tokens=8, output_tokens=11, reasoning_tokens=4,
                                            server_tool_calls=1)),
}  # fmt: skip
FAILING = {
    "anthropic_overloaded": Failed("overloaded_error", "Overloaded"),
    "responses_failed": Failed("server_error", "The model failed."),
}
LACKS_ITS_END = {"openai_quirks"}


def test_every_recorded_stream_is_expected_to_be_something() -> None:
    assert EXPECTED.keys() | FAILING.keys() == STREAMS.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_whole_stream_passes_untouched(name: str) -> None:
    stream = STREAMS[name]
    finish, characters, usage = EXPECTED[name]
    written = stream + (b"\n" + DONE if name in LACKS_ITS_END else b"")
    assert seen(watch_of(shape_of(name)), stream) == Seen(written, True, True, True, None, finish, usage, characters)


@pytest.mark.parametrize("name", FAILING)
def test_an_error_inside_a_stream(name: str) -> None:
    """What came before it came before it; the error itself may quote a key, so it is the relay's to write."""
    stream = STREAMS[name]
    found = seen(watch_of(shape_of(name)), stream)
    assert found.failed == FAILING[name]
    assert not found.has_ended
    assert stream.startswith(found.written)
    assert b"Hel" in found.written or b'"Hi"' in found.written
    assert FAILING[name].message.encode() not in found.written


@pytest.mark.parametrize("name", [name for name in EXPECTED if shape_of(name) is not RESPONSES])
def test_the_translation_understands_the_same(name: str) -> None:
    reader = CODECS[shape_of(name)].events_reader()
    sse = EventReader()
    found = [event for each in [*sse.feed(STREAMS[name]), *sse.end()] for event in reader.feed(each)]
    assert [event.stop.value for event in found if isinstance(event, Finished)] == [EXPECTED[name][0]]
    usage = canonical.Usage()
    for event in found:
        if isinstance(event, Started | UsageSeen):
            usage = usage.updated(event.usage)
    assert usage.meters() == EXPECTED[name][2]


# --- the law of cuts ---

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
JUNK_BYTES = st.binary(max_size=3) | st.sampled_from([b"\n", b"\r", b"\r\n\r\n"])
SPOILS = st.lists(st.tuples(st.integers(0, 10_000), JUNK_BYTES), max_size=3)
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(STREAMS)), CUTS, st.tuples(LINE_ENDS, st.booleans()), st.booleans(), SPOILS)
def test_cuts_change_nothing(
    name: str, cuts: list[int], form: tuple[bytes, bool], hides_usage: bool, spoils: list[tuple[int, bytes]]
) -> None:
    line_end, has_bom = form
    spoiled = bytearray(STREAMS[name].replace(b"\n", line_end))
    for place, junk in spoils:
        at = place % len(spoiled)
        spoiled[at : at + len(junk)] = junk
    stream = b"\xef\xbb\xbf" * has_bom + bytes(spoiled)
    whole = seen(watch_of(shape_of(name), hides_usage=hides_usage), stream)
    assert seen(watch_of(shape_of(name), hides_usage=hides_usage), *pieces_of(stream, cuts)) == whole
    singly = [stream[at : at + 1] for at in range(len(stream))]
    assert seen(watch_of(shape_of(name), hides_usage=hides_usage), *singly) == whole


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - LACKS_ITS_END))
def test_line_ends_and_a_bom_are_the_hosts_own(name: str, line_end: bytes) -> None:
    stream = b"\xef\xbb\xbf" + STREAMS[name].replace(b"\n", line_end)
    found = seen(watch_of(shape_of(name)), stream)
    assert found.written == stream
    assert (found.finish, found.delivered_characters, found.usage) == EXPECTED[name]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(EXPECTED)), st.integers(0, 10_000))
def test_a_cut_stream_is_never_a_success(name: str, place: int) -> None:
    """What came out is a beginning of whole events, and an end is written only where the reason had come."""
    stream = STREAMS[name]
    watch = watch_of(shape_of(name))
    written = watch.feed(stream[: place % len(stream)])
    assert stream.startswith(written)
    assert not written or written.endswith(b"\n\n")
    rest = watch.end()
    assert watch.has_ended is watch.has_finished
    assert watch.has_ended or not rest or stream.startswith((written + rest).removesuffix(b"\n"))


@pytest.mark.parametrize("first", [HI.replace(b"\n", b"\r"), HI.replace(b"\n\n", b"\n\r\n"), b"event: x\r\r"])
def test_line_ends_may_be_mixed(first: bytes) -> None:
    found = seen(ChatWatch(False), first + STOP)
    assert found == seen(ChatWatch(False), first, STOP)
    assert found.written == first + STOP + DONE
    assert found.failed is None


def test_whole_events_pass_as_the_same_object() -> None:
    watch = ChatWatch(hides_usage=False)
    assert watch.feed(HI) is HI
    assert watch.feed(STOP) is STOP


# --- before the first content ---


@pytest.mark.parametrize(
    ("shape", "greeting"),
    [
        (OPENAI, [START, chunk({"role": "assistant"}), chunk({"content": ""}), chunk({"tool_calls": []}),
                  USAGE_CHUNK, b": ping\n\n"]),
        (ANTHROPIC, [named_event("message_start", b'{"type":"message_start","message":{"usage":{"input_tokens":1}}}'),
                     named_event("ping", b'{"type":"ping"}'),
                     named_event("content_block_start",
                                 b'{"type":"content_block_start","content_block":{"type":"text","text":""}}'),
                     named_event("content_block_delta",
                                 b'{"type":"content_block_delta","delta":{"type":"text_delta","text":""}}')]),
        (RESPONSES, [named_event("response.created", b'{"type":"response.created","response":{"output":[]}}'),
                     named_event("response.output_item.added",
                                 b'{"type":"response.output_item.added","item":{"type":"reasoning"}}')]),
    ],
)  # fmt: skip
def test_greetings_are_held_back(shape: WireShape, greeting: list[bytes]) -> None:
    for end in (b"", ERROR if shape is OPENAI else named_event("error", b'{"type":"error","error":{"type":"x"}}')):
        watch = watch_of(shape)
        assert [watch.feed(event) for event in (*greeting, end)] == [b""] * (len(greeting) + 1)
        assert not watch.has_content
        assert (watch.failed is not None) is bool(end)
        assert watch.end() == b""


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"}, {"reasoning_content": "x"}, {"reasoning": "x"}, {"refusal": "x"},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]},
        {"function_call": {"name": "f"}}, {"audio": {"data": "AA"}}, {"images": [{}]}, {"content": [{"text": "x"}]},
        {"thinking_blocks": [{"type": "thinking", "signature": "s"}]}, {"reasoning_details": [{"data": "x"}]},
    ],
)  # fmt: skip
def test_content_lets_everything_go(delta: dict[str, Any]) -> None:
    watch = ChatWatch(hides_usage=False)
    assert watch.feed(START) == b""
    assert watch.feed(chunk(delta)) == START + chunk(delta)
    assert watch.has_content


def test_an_empty_answer_is_an_answer() -> None:
    assert seen(ChatWatch(False), START, STOP, DONE).written == START + STOP + DONE


@pytest.mark.parametrize("stream", [DONE, START + DONE, named_event("message_stop", b'{"type":"message_stop"}')])
def test_an_end_without_an_answer_is_a_failure(stream: bytes) -> None:
    found = seen(watch_of(OPENAI if DONE in stream else ANTHROPIC), stream)
    assert found.failed == Failed("", "The stream ended without an answer.")
    assert found.written == b""


def test_a_greeting_without_end_is_not_held_for_ever() -> None:
    watch = ChatWatch(False)
    ping = b": %b\n\n" % (b"x" * 1_020)
    written = b"".join(watch.feed(ping) for _ in range(2_000))
    assert written == ping * 2_000
    assert not watch.has_content
    written = b"".join(ChatWatch(False).feed(ping) for _ in range(MAX_HELD_BYTES // len(ping)))
    assert written == b""


# --- what is dropped, and what fails ---


@pytest.mark.parametrize("garbled", [GARBLED, data_event(b"5"), data_event(b"[]"), data_event(b"oops"), data_event(b""),
                                     data_event(b'{"a":"\xff"}'), data_event(b'{"a":' + b"[" * 5_000),
                                     data_event(b'{"choices":[{"delta":{"content":"\xff"}}]}')])  # fmt: skip
def test_one_garbled_event_is_dropped_and_two_are_a_failure(garbled: bytes) -> None:
    found = seen(ChatWatch(False), START + garbled + HI + STOP + DONE)
    assert found.failed is None
    assert found.written == START + HI + STOP + DONE
    found = seen(ChatWatch(False), HI + garbled + HI + garbled + STOP + DONE)
    assert found.failed == Failed("", "The stream is garbled.")
    assert found.written == HI + HI
    assert not found.has_ended


def test_half_an_emoji_is_no_garbled_event() -> None:
    halves = [data_event(b'{"choices":[{"delta":{"content":"\\ud83d"}}]}'),
              data_event(b'{"choices":[{"delta":{"content":"\\udc4b\\\\ud83d"}}]}')] * 2  # fmt: skip
    found = seen(ChatWatch(False), *halves, STOP, DONE)
    assert found.written == b"".join(halves) + STOP + DONE
    assert found.failed is None


def test_usage_that_was_not_asked_for_is_hidden() -> None:
    for event in (USAGE_CHUNK, data_event(b'{"usage":{"prompt_tokens":7,"completion_tokens":3}}')):
        found = seen(ChatWatch(hides_usage=True), START + HI + STOP + event + DONE)
        assert found.written == START + HI + STOP + DONE
        assert found.usage == Usage(input_tokens=7, output_tokens=3)


def test_usage_on_the_last_chunk_stays_where_it_is() -> None:
    last = chunk({}, "stop", usage=USED)
    assert seen(ChatWatch(hides_usage=True), HI + last + DONE).written == HI + last + DONE


@pytest.mark.parametrize("name", ["openai_azure", "openai_text"])
def test_only_the_usage_chunk_is_hidden(name: str) -> None:
    events = STREAMS[name].split(b"\n\n")
    hidden = [event for event in events if b'"choices": []' not in event or b'"prompt_filter_results"' in event]
    assert len(hidden) == len(events) - 1
    assert seen(ChatWatch(hides_usage=True), STREAMS[name]).written == b"\n\n".join(hidden)


@pytest.mark.parametrize(
    ("event", "failed"),
    [
        (ERROR, Failed("overloaded", "Overloaded")),
        (data_event(b'{"error":"down"}'), Failed("", "down")),
        (data_event(b'{"object":"error","message":"Too long","type":"BadRequestError","code":400}'),
         Failed("400", "Too long")),
        (named_event("error", b'{"message":"x"}'), Failed("", "x")),
        (chunk({"content": "x"}, error={"code": 502, "message": "Provider disconnected"}),
         Failed("502", "Provider disconnected")),
    ],
)  # fmt: skip
def test_errors_of_hosts(event: bytes, failed: Failed) -> None:
    found = seen(ChatWatch(False), START + event + HI)
    assert (found.failed, found.written) == (failed, b"")
    assert seen(ChatWatch(False), HI + event + HI).written == HI


@pytest.mark.parametrize("event", [b'{"type":"error","error":{"type":"api_error","message":"m"}}',
                                   b'{"error":{"type":"api_error","message":"m"}}'])  # fmt: skip
def test_errors_of_hosts_that_speak_messages(event: bytes) -> None:
    assert seen(watch_of(ANTHROPIC), data_event(event)).failed == Failed("api_error", "m")


@pytest.mark.parametrize(
    ("event", "failed"),
    [
        (b'{"type":"error","code":"rate_limit_exceeded","message":"m","param":null}',
         Failed("rate_limit_exceeded", "m")),
        (b'{"type":"error","error":{"type":"invalid_request_error","message":"m"}}',
         Failed("invalid_request_error", "m")),
        (b'{"type":"response.failed"}', Failed("", "")),
    ],
)  # fmt: skip
def test_errors_of_hosts_that_speak_responses(event: bytes, failed: Failed) -> None:
    assert seen(watch_of(RESPONSES), data_event(event)).failed == failed


@pytest.mark.parametrize(
    ("details", "finish"),
    [({"reason": "max_output_tokens"}, "length"), ({"reason": "content_filter"}, "refusal"), (None, "unknown")],
)
def test_a_response_that_is_not_complete(details: Any, finish: str) -> None:
    response = {"status": "incomplete", "incomplete_details": details, "usage": {"input_tokens": 1}}
    last = data_event(json.dumps({"type": "response.incomplete", "response": response}).encode())
    found = seen(watch_of(RESPONSES), last)
    assert (found.written, found.finish, found.usage) == (last, finish, Usage(input_tokens=1))
    assert found.has_finished
    assert found.has_ended


def test_an_event_without_an_end_is_a_failure() -> None:
    watch = ChatWatch(False)
    piece = b"x" * 65_536
    watch.feed(HI + b"data: ")
    for _ in range(MAX_EVENT_BYTES // len(piece)):
        watch.feed(piece)
    assert watch.failed == Failed("", "The stream has an event without an end.")
    assert seen(ChatWatch(False), HI + b"data: " + b"x" * MAX_EVENT_BYTES + b"\n\n").failed == watch.failed


# --- the end ---


def test_choices_finish_one_by_one() -> None:
    watch = ChatWatch(False)
    watch.feed(chunk({"content": "a"}) + HI.replace(b'"index": 0', b'"index": 1') + STOP)
    assert not watch.has_finished
    assert watch.end() == b""
    watch.feed(STOP.replace(b'"index": 0', b'"index": 1'))
    assert watch.has_finished


@pytest.mark.parametrize(
    ("last", "added"),
    [(b"data: [DONE]", b"\n\n"), (b"data: [DONE]\n", b"\n"), (b"data: [DONE]\r\n", b"\n"), (b"data: [DONE]\n\n", b"")],
)
def test_a_last_event_without_its_blank_line(last: bytes, added: bytes) -> None:
    found = seen(ChatWatch(False), HI + STOP + last)
    assert found.has_ended
    assert found.written == HI + STOP + last + added
    assert seen(ChatWatch(False), HI + STOP.strip()).written == HI + STOP + DONE


@pytest.mark.parametrize("cut", [b"data: {", b'data: {"choices": []', b"dat", b": comm", b"\n"])
def test_a_piece_of_an_event_goes_nowhere(cut: bytes) -> None:
    found = seen(ChatWatch(False), HI + GARBLED + cut)
    assert found.written == HI
    assert found.failed is None
    assert seen(ChatWatch(False), HI + STOP + cut).written == HI + STOP + DONE


def test_nothing_comes_after_the_end() -> None:
    assert seen(ChatWatch(False), HI + STOP + DONE + HI, HI).written == HI + STOP + DONE


def test_messages_are_closed_in_their_own_words() -> None:
    stop = named_event("message_delta", b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}')
    closing = named_event("message_stop", b'{"type":"message_stop"}')
    assert seen(watch_of(ANTHROPIC), stop).written == stop + closing


# --- whole answers ---


def message(**more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **more}, "finish_reason": "stop"}], "usage": USED}


BODIES: list[tuple[WireShape, Any, Usage | None, str]] = [
    (OPENAI, message(content="x"), Usage(input_tokens=7, output_tokens=3), "end"),
    (OPENAI, message(content=[{"text": "x"}]), Usage(input_tokens=7, output_tokens=3), "end"),
    (OPENAI, message(tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "{}"}}]),
     Usage(input_tokens=7, output_tokens=3), "tool_use"),
    (OPENAI, message(tool_calls=[{"function": {"arguments": {}}}]), Usage(input_tokens=7, output_tokens=3), ""),
    (OPENAI, {"choices": 5, "usage": USED}, Usage(input_tokens=7, output_tokens=3), ""),
    (OPENAI, {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}, Usage(), ""),
    (OPENAI, {"choices": [], "usage": {}}, None, ""),
    (OPENAI, {"error": {"message": "x"}}, None, ""),
    (OPENAI, {"usage": {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": "odd"}},
     Usage(input_tokens=9, output_tokens=1), ""),
    (ANTHROPIC, {"type": "message", "content": [{"type": "text", "text": "x"}], "stop_reason": "max_tokens",
                 "usage": {"input_tokens": 4, "output_tokens": 2, "cache_read_input_tokens": 9}},
     Usage(input_tokens=4, cache_read_tokens=9, output_tokens=2), "length"),
    (ANTHROPIC, {"content": [{"type": "tool_use", "name": "f", "input": {}}], "stop_reason": "end_turn"},
     None, "tool_use"),
    (ANTHROPIC, {"content": 5, "usage": {"output_tokens": 2}}, Usage(output_tokens=2), ""),
    (RESPONSES, {"status": "completed", "output": [{"type": "message", "content": [{"type": "refusal"}]}],
                 "usage": {"input_tokens": 4, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 3}}},
     Usage(input_tokens=1, cache_read_tokens=3, output_tokens=2), "refusal"),
    (RESPONSES, {"status": "in_progress", "output": None, "usage": None}, None, ""),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "document", "usage", "finish"), BODIES)
def test_whole_answers(shape: WireShape, document: Any, usage: Usage | None, finish: str) -> None:
    assert usage_of_body(SURFACES[shape].watch, json.dumps(document).encode()) == (usage, finish)


@pytest.mark.parametrize("shape", SHAPES.values())
@pytest.mark.parametrize(
    "body",
    [b"", b"nul", b"[]", b"5", b"\xff", b'{"usage":' + b"[" * 100_000, b'{"usage":{"a":' * 5_000,
     b'{"usage":{"prompt_tokens":' + b"9" * 6_000 + b"}}", b'{"usage":{"input_tokens":1e999}}', b'{"usage":"\xff"}'],
)  # fmt: skip
def test_what_is_no_answer_says_nothing(shape: WireShape, body: bytes) -> None:
    assert usage_of_body(SURFACES[shape].watch, body) == (None, "")


FIGURES = (st.integers(-5, 5) | st.integers(10**12, 10**30) | st.floats(allow_nan=False, allow_infinity=False)
           | st.text(max_size=3) | st.booleans() | st.none())  # fmt: skip
NAMES = st.sampled_from(
    ["usage", "choices", "message", "delta", "tool_calls", "function", "arguments", "content", "finish_reason", "index",
     "type", "stop_reason", "output", "status", "response", "item", "error", "prompt_tokens", "input_tokens",
     "prompt_tokens_details", "cached_tokens", "cache_creation", "server_tool_use", "cache_creation_input_tokens",
     "completion_tokens", "output_tokens", "audio_tokens", "incomplete_details", "content_block", "object", "code"]
)  # fmt: skip
JUNK = st.recursive(
    FIGURES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=15
)
KINDS = st.sampled_from(
    ["message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop", "error", "x",
     "response.completed", "response.failed", "response.output_text.delta"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(SHAPES.values())), st.dictionaries(NAMES, JUNK, max_size=6))
def test_figures_of_any_kind_are_never_an_exception(shape: WireShape, document: dict[str, Any]) -> None:
    usage, _ = usage_of_body(SURFACES[shape].watch, json.dumps(document).encode())
    if usage is not None:
        assert min(getattr(usage, name) for name in Usage.__slots__) >= 0
        assert usage.prompt_tokens <= 10**13


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(SHAPES.values())), CUTS,
       st.lists(st.tuples(KINDS, st.dictionaries(NAMES, JUNK, max_size=5)), max_size=6))  # fmt: skip
def test_nonsense_of_a_host_is_noted_or_a_failure(
    shape: WireShape, cuts: list[int], documents: list[tuple[str, dict[str, Any]]]
) -> None:
    stream = b"".join(named_event(kind, json.dumps({"type": kind} | each).encode()) for kind, each in documents)
    whole = seen(watch_of(shape), stream)
    assert seen(watch_of(shape), *pieces_of(stream, cuts)) == whole
