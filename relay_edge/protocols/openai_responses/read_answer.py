"""A response, whole or streamed -> canonical values (platform.openai.com/docs/api-reference/responses/object and
responses-streaming, read 2026-11).

The stream says most things twice: in pieces, then whole. Pieces are passed on as they come; what came in none is taken
from the whole. Events and items that nobody asked for are ignored.
"""

from collections.abc import Mapping
from typing import Any

from relay_contract.errors import MalformedJson, UpstreamProtocolError
from relay_edge.protocols.canonical import (
    Answer,
    Block,
    Ended,
    Event,
    Failed,
    Finished,
    RedactedThinking,
    RedactedThinkingSeen,
    Refusal,
    RefusalDelta,
    Started,
    Stop,
    Text,
    TextDelta,
    ThinkingDelta,
    ThinkingEnded,
    ToolDelta,
    ToolStarted,
    ToolUse,
    Usage,
    UsageSeen,
)
from relay_edge.protocols.fields import decode_object, object_text
from relay_edge.protocols.openai_chat.read_answer import made_up_id, read_error
from relay_edge.protocols.openai_responses.reasoning import read_reasoning
from relay_edge.protocols.openai_responses.usage import read_usage
from relay_edge.protocols.sse import ServerSentEvent

__all__ = [
    "StreamReader",
    "read_answer",
    "read_error",
    "read_stop",
]

MAX_ITEMS = 512
MAX_MALFORMED = 1
"""A garbled event is skipped once; a second one says that the stream cannot be trusted."""


def _count(values: Any, name: str) -> int | None:
    value = values.get(name) if isinstance(values, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def read_stop(response: Mapping[str, Any], has_calls: bool, has_refused: bool) -> Stop:
    """Why a response with status `completed` or `incomplete` ended."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        if reason == "max_output_tokens":
            return Stop.LENGTH
        return Stop.REFUSAL if reason == "content_filter" else Stop.UNKNOWN
    if has_calls:
        return Stop.TOOL_USE
    return Stop.REFUSAL if has_refused else Stop.END


def read_answer(body: bytes) -> Answer:
    """Raises UpstreamProtocolError for what is no whole response."""
    try:
        response = decode_object(body)
    except MalformedJson as error:
        raise UpstreamProtocolError from error
    output = response.get("output")
    status = response.get("status", "completed")
    if status == "failed":
        raise UpstreamProtocolError("The upstream host's response has failed.")
    if not isinstance(output, list) or status not in ("completed", "incomplete"):
        raise UpstreamProtocolError("The upstream host's answer is no whole response.")
    own_id = _string(response, "id")
    blocks: list[Block] = []
    for place, item in enumerate(output):
        if isinstance(item, dict):
            blocks += _blocks(item, own_id, place, is_cut=status == "incomplete")
    has_calls = any(isinstance(block, ToolUse) for block in blocks)
    has_refused = any(isinstance(block, Refusal) for block in blocks)
    stop = read_stop(response, has_calls, has_refused)
    return Answer(own_id, tuple(blocks), stop, None, read_usage(response.get("usage"), response.get("output")))


def _blocks(item: Mapping[str, Any], answer_id: str, place: int, *, is_cut: bool) -> list[Block]:
    match item.get("type"):
        case "message":
            return [block for part in _list(item, "content") if (block := _words(part)) is not None]
        case "reasoning":
            thinking = read_reasoning(item)
            return [] if thinking is None else [thinking]
        case "function_call":
            name = _name(item)
            arguments = _string(item, "arguments")
            compact = object_text(arguments) if arguments.strip() else "{}"
            if compact is None:
                if is_cut:
                    return []  # the answer ended inside this call
                raise UpstreamProtocolError(
                    "The upstream host's answer calls a tool with arguments that are no JSON object."
                )
            return [ToolUse(_string(item, "call_id") or made_up_id(answer_id, place), name, compact)]
        case _:
            return []  # dropped: items of hosted tools: a request of another shape cannot have asked for them


def _words(part: Any) -> Text | Refusal | None:
    if not isinstance(part, dict):
        return None
    if text := _string(part, "text"):
        return Text(text)
    return Refusal(refusal) if (refusal := _string(part, "refusal")) else None


def _name(item: Mapping[str, Any]) -> str:
    if not (name := _string(item, "name")):
        raise UpstreamProtocolError("The upstream host's answer calls a tool without a name.")
    return name


def _string(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _list(values: Mapping[str, Any], name: str) -> list[Any]:
    value = values.get(name)
    return value if isinstance(value, list) else []


class _Item:
    """One item of the output on its way."""

    __slots__ = ("call", "has_pieces", "is_done", "part")

    def __init__(self) -> None:
        self.call = -1  # ordinal among the tool calls
        self.part: object = None  # of the last piece: which summary, which content
        self.has_pieces = False  # words or arguments have come
        self.is_done = False


class StreamReader:
    """Events of a response -> canonical events. `feed` raises UpstreamProtocolError for what cannot be understood."""

    __slots__ = ("_calls", "_has_refused", "_id", "_is_started", "_items", "_malformed", "has_ended")

    def __init__(self) -> None:
        self._items: dict[int, _Item] = {}  # by output_index
        self._calls = 0
        self._malformed = 0
        self._id = ""
        self._is_started = self._has_refused = False
        self.has_ended = False

    @property
    def has_finished(self) -> bool:
        """Whether the model said why it stopped: here that is the last event."""
        return self.has_ended

    def feed(self, event: ServerSentEvent) -> list[Event]:
        """What one event says."""
        if self.has_ended:
            return []
        if event.data.strip() == b"[DONE]":
            raise UpstreamProtocolError("The upstream host's stream ended without a reason.")
        try:
            data = decode_object(event.data)
        except MalformedJson as error:
            self._malformed += 1
            if self._malformed > MAX_MALFORMED:
                raise UpstreamProtocolError("The upstream host's stream is garbled.") from error
            return []
        kind = data.get("type") or event.name
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                return self._words(data, _string(data, "delta"), is_refusal=kind == "response.refusal.delta")
            case "response.function_call_arguments.delta":
                return self._arguments(data, _string(data, "delta"))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                return self._thinking(data)
            case "response.output_item.added":
                return self._added(data)
            case "response.output_item.done":
                return self._done(self._item(data), _item_of(data))
            case "response.created" | "response.in_progress" | "response.queued":
                return self._start(data)
            case "response.completed" | "response.incomplete":
                return self._end(data)
            case "response.failed" | "error":
                return [_failed(data)]
            case None | "" if isinstance(data.get("error"), dict):
                return [_failed(data)]
            case _:
                return []  # the vendor adds types of events, and says in others what comes again in the item's last

    def end(self) -> list[Event]:
        """Nothing: without its last event a response is cut."""
        return []

    def _start(self, data: Mapping[str, Any]) -> list[Event]:
        if self._is_started:
            return []
        self._is_started = True
        response = data.get("response")
        self._id = _string(response, "id") if isinstance(response, dict) else ""
        return [Started(self._id, Usage())]

    def _item(self, data: Mapping[str, Any]) -> _Item:
        index = data.get("output_index")
        return self._at(index if isinstance(index, int) else -1)

    def _at(self, index: int) -> _Item:
        item = self._items.get(index)
        if item is None:
            if len(self._items) >= MAX_ITEMS:
                raise UpstreamProtocolError("The upstream host's answer has too many items.")
            item = self._items[index] = _Item()
        return item

    def _words(self, data: Mapping[str, Any], text: str, *, is_refusal: bool) -> list[Event]:
        if not text:
            return []
        self._item(data).has_pieces = True
        if is_refusal:
            self._has_refused = True
            return [RefusalDelta(text)]
        return [TextDelta(text)]

    def _thinking(self, data: Mapping[str, Any]) -> list[Event]:
        """Parts of a summary are paragraphs. A host that sends a summary and the text it is of is read by the former
        of them that comes."""
        text = _string(data, "delta")
        item = self._item(data)
        is_summary = "summary_index" in data
        part = (is_summary, data.get("summary_index") if is_summary else data.get("content_index"))
        if not text or (isinstance(item.part, tuple) and item.part[0] is not is_summary):
            return []
        is_next = item.has_pieces and part != item.part
        item.has_pieces, item.part = True, part
        return [ThinkingDelta(f"\n\n{text}" if is_next else text)]

    def _added(self, data: Mapping[str, Any]) -> list[Event]:
        found = _item_of(data)
        item = self._item(data)
        return self._start_call(item, found) if found.get("type") == "function_call" and item.call < 0 else []

    def _start_call(self, item: _Item, found: Mapping[str, Any]) -> list[Event]:
        name = _name(found)
        item.call = self._calls
        self._calls += 1
        return [ToolStarted(item.call, _string(found, "call_id") or made_up_id(self._id, item.call), name)]

    def _arguments(self, data: Mapping[str, Any], text: str) -> list[Event]:
        item = self._item(data)
        if not text:
            return []
        if item.call < 0:
            raise UpstreamProtocolError("The upstream host's answer gives arguments to no call of a tool.")
        item.has_pieces = True
        return [ToolDelta(item.call, text)]

    def _done(self, item: _Item, found: Mapping[str, Any]) -> list[Event]:
        """The end of an item: what of it did not come in pieces."""
        if item.is_done:
            return []
        item.is_done = True
        match found.get("type"):
            case "function_call":
                events = self._start_call(item, found) if item.call < 0 else []
                if not item.has_pieces:
                    events.append(ToolDelta(item.call, _string(found, "arguments") or "{}"))
                return events
            case "reasoning":
                block = read_reasoning(found)
                if isinstance(block, RedactedThinking):
                    return [RedactedThinkingSeen(block.data)]
                if block is None:
                    return [ThinkingEnded("")] if item.has_pieces else []
                text: list[Event] = [ThinkingDelta(block.text)] if block.text and not item.has_pieces else []
                return [*text, ThinkingEnded(block.signature)]
            case "message" if not item.has_pieces:
                words = [_words(part) for part in _list(found, "content")]
                self._has_refused = self._has_refused or any(isinstance(block, Refusal) for block in words)
                return [TextDelta(block.text) if isinstance(block, Text) else RefusalDelta(block.text)
                        for block in words if block is not None]  # fmt: skip
            case _:
                return []

    def _end(self, data: Mapping[str, Any]) -> list[Event]:
        response = data.get("response")
        response = response if isinstance(response, dict) else {}
        events = self._start(data)
        for index, found in enumerate(_list(response, "output")):
            if isinstance(found, dict):
                events += self._done(self._at(index), found)
        self.has_ended = True
        if response.get("usage") is not None:
            events.append(UsageSeen(read_usage(response["usage"], response.get("output"))))
        status = {"status": "incomplete"} if data.get("type") == "response.incomplete" else {}
        stop = read_stop({**response, **status}, self._calls > 0, self._has_refused)
        return [*events, Finished(stop), Ended()]


def _item_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    item = data.get("item")
    return item if isinstance(item, dict) else {}


def _failed(data: Mapping[str, Any]) -> Failed:
    """`response.failed` holds the error in its response, `error` at its top or, at OpenAI itself, in `error`."""
    response = data.get("response")
    error = response.get("error") if isinstance(response, dict) else data.get("error")
    found = error if isinstance(error, dict) else data
    kind = _string(found, "code") or (_string(found, "type") if found is not data else "")
    return Failed(kind[:100], _string(found, "message"))
