"""What the tests of translation share: short ways to put a call or an answer through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from relay_contract.nouns import Capabilities, WireShape
from relay_edge.protocols.sse import EventReader
from relay_edge.protocols.translation import Translation, Translator

OPENAI, RESPONSES, ANTHROPIC, GEMINI = (
    WireShape.OPENAI_CHAT,
    WireShape.OPENAI_RESPONSES,
    WireShape.ANTHROPIC_MESSAGES,
    WireShape.GEMINI,
)
RECORDINGS = Path(__file__).parent / "recordings"
OTHER = {OPENAI: ANTHROPIC, ANTHROPIC: OPENAI, RESPONSES: ANTHROPIC, GEMINI: OPENAI}  # a shape to translate to

HI = {"role": "user", "content": "hi"}
CLAUDE = "claude-sonnet-4-5"
GPT = "gpt-4o"
GEMINI_3 = "gemini-3-flash"
UPSTREAM = {OPENAI: GPT, RESPONSES: GPT, ANTHROPIC: CLAUDE, GEMINI: GEMINI_3}
LEAST: dict[WireShape, dict[str, Any]] = {
    OPENAI: {"model": "m", "messages": [HI]},
    RESPONSES: {"model": "m", "input": "hi"},
    ANTHROPIC: {"model": "m", "messages": [HI], "max_tokens": 100},
}
"""The smallest calls."""

UNKNOWN = Capabilities()


def to_host(
    shape: WireShape,
    host: WireShape,
    call: Any,
    upstream: str | None = None,
    capabilities: Capabilities = UNKNOWN,
    *,
    is_strict: bool = False,
) -> Translation:
    """A caller's call of this shape as a host of that one gets it; what a call has to have is filled in."""
    body = json.dumps(LEAST[shape] | call).encode()
    translator = Translator(shape, body, created=1_700_000_000, fallback_id="made", is_strict=is_strict)
    return translator.to(host, upstream or UPSTREAM[host], capabilities)


def to_other(
    shape: WireShape,
    call: Any,
    upstream: str | None = None,
    capabilities: Capabilities = UNKNOWN,
    *,
    host: WireShape | None = None,
    is_strict: bool = False,
) -> Translation:
    """The same, at a host of another shape."""
    return to_host(shape, host or OTHER[shape], call, upstream, capabilities, is_strict=is_strict)


def sent(translation: Translation) -> Any:
    """The host's document."""
    return json.loads(translation.body)


def recording(name: str) -> bytes:
    """A recorded stream, as it came."""
    return (RECORDINGS / f"{name}.sse").read_bytes()


def events(stream: bytes) -> list[tuple[str, Any]]:
    """Name and document of every event; `[DONE]` as it is."""
    reader = EventReader()
    found = [*reader.feed(stream), *reader.end()]
    return [(e.name, e.data.decode() if e.data == b"[DONE]" else json.loads(e.data)) for e in found]


_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_PIECES = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.function_call_arguments.delta": "arguments",
    "response.reasoning_summary_text.delta": "text",
}
_WHOLE = {
    "response.output_text.done": "text",
    "response.refusal.done": "refusal",
    "response.function_call_arguments.done": "arguments",
    "response.reasoning_summary_text.done": "text",
}


def response_of(stream: bytes) -> dict[str, Any]:
    """The last response of a stream of Responses, after checking each event against the SDK's types, and that the
    pieces, the items and the response tell the same."""
    found = events(stream)
    assert [document["sequence_number"] for _, document in found] == list(range(len(found)))
    for name, document in found:
        assert name == document["type"]
        _EVENT.validate_python(document)
    assert [name for name, _ in found[:2]] == ["response.created", "response.in_progress"]
    first, last = found[0][1]["response"], found[-1][1]["response"]
    assert (first["status"], first["output"]) == ("in_progress", [])
    assert found[-1][0] == f"response.{last['status']}"
    items = _items([document for _, document in found[2:-1]])
    assert last["output"] == items
    assert first | {name: last[name] for name in ("status", "output", "usage", "incomplete_details")} == last
    Response.model_validate(last, strict=True)
    return dict(last)


def _items(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items of a stream, each with the order of its events checked."""
    done: dict[int, dict[str, Any]] = {}
    is_open: dict[int, dict[str, Any]] = {}
    pieces: dict[tuple[int, int], str] = {}
    for document in told:
        kind, index = document["type"], document["output_index"]
        part = (index, document.get("content_index", document.get("summary_index", 0)))
        if kind == "response.output_item.added":
            assert index == len(done) + len(is_open)
            is_open[index] = document["item"]
            continue
        opened = is_open[index]
        if kind == "response.output_item.done":
            done[index] = document["item"]
            assert (opened["id"], opened["type"]) == (document["item"]["id"], document["item"]["type"])
            del is_open[index]
            continue
        assert document["item_id"] == opened["id"]
        if kind in _PIECES:
            pieces[part] = pieces.get(part, "") + document["delta"]
        elif kind in _WHOLE:
            assert document[_WHOLE[kind]] == pieces.get(part, "")
        else:
            whole = "" if kind.endswith("added") else pieces[part]
            assert document["part"].get("text", document["part"].get("refusal")) == whole
    assert not is_open
    for index, item in done.items():
        texts = [part.get("text", part.get("refusal")) for part in item.get("content") or item.get("summary") or ()]
        assert ([item["arguments"]] if item["type"] == "function_call" else texts) == [
            text for (place, _), text in sorted(pieces.items()) if place == index
        ]
    return [done[index] for index in sorted(done)]
