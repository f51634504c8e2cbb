"""Canonical answer or events -> a response, whole or streamed (platform.openai.com/docs/api-reference/responses/object
and responses-streaming, read 2026-11).

Clients of this shape take each item from its last event, and the answer from the stream's last one, so what is written
is held until then, within a bound. A whole answer and a stream's last response are the same document.
"""

from collections.abc import Mapping
from typing import Any

from relay_contract.errors import UpstreamProtocolError
from relay_edge.protocols.canonical import (
    Answer,
    Block,
    Ended,
    Event,
    Failed,
    Finished,
    Pinged,
    RedactedThinking,
    RedactedThinkingSeen,
    Refusal,
    RefusalDelta,
    ReplyContext,
    Started,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ThinkingEnded,
    ToolDelta,
    ToolStarted,
    ToolUse,
    Usage,
    UsageSeen,
)
from relay_edge.protocols.conversation import bare_id
from relay_edge.protocols.fields import encode, object_text
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.openai_responses.reasoning import encrypted_content, encrypted_redacted, summary_of
from relay_edge.protocols.sse import comment, named_event

MAX_HELD_CHARACTERS = 16 * 1024 * 1024

_CUT = {Stop.LENGTH: "max_output_tokens", Stop.CONTEXT: "max_output_tokens", Stop.REFUSAL: "content_filter"}
_TEXT_DELTA, _REFUSAL_DELTA = "response.output_text.delta", "response.refusal.delta"


def cut_reason(stop: Stop, has_refusal: bool, notes: Notes) -> str | None:
    """Why a response is incomplete; None when it is not. A refusal in words is a whole answer."""
    if stop in (Stop.PAUSE, Stop.UNKNOWN, Stop.CONTEXT):
        notes.add("approximated", f"status.{stop.value}")
    return None if stop is Stop.REFUSAL and has_refusal else _CUT.get(stop)


def answer_id(own: str, context: ReplyContext) -> str:
    """An id in this shape's form, by which the host's own can still be found."""
    return own if own.startswith("resp_") else f"resp_{bare_id(own or context.id)}"


def usage_of(usage: Usage) -> dict[str, Any] | None:
    """`input_tokens` includes what was cached. None when the host said nothing."""
    if usage == Usage():
        return None
    total, output = usage.input or 0, usage.output or 0
    written = (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0)
    return {
        "input_tokens": total,
        "input_tokens_details": {"cached_tokens": usage.cache_read or 0, "cache_write_tokens": written},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": total + output,
    }


def _response(
    own_id: str, context: ReplyContext, status: str, output: list[dict[str, Any]], **further: Any
) -> dict[str, Any]:
    return {
        "id": own_id,
        "object": "response",
        "created_at": context.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": context.model,
        "output": output,
        **context.echo,
        "usage": None,
        **further,
    }


def write_answer(answer: Answer, context: ReplyContext, notes: Notes) -> bytes:
    """The whole document."""
    own_id = answer_id(answer.id, context)
    has_refusal = any(isinstance(block, Refusal) for block in answer.blocks)
    reason = cut_reason(answer.stop, has_refusal, notes)
    output: list[dict[str, Any]] = []
    for block in answer.blocks:
        _add(output, block, own_id)
    if reason is not None and output and "status" in output[-1]:
        output[-1]["status"] = "incomplete"
    return encode(_ended(own_id, context, output, reason, answer.usage))


def _ended(
    own_id: str, context: ReplyContext, output: list[dict[str, Any]], reason: str | None, usage: Usage
) -> dict[str, Any]:
    if reason is None:
        return _response(own_id, context, "completed", output, usage=usage_of(usage))
    details = {"reason": reason}
    return _response(own_id, context, "incomplete", output, incomplete_details=details, usage=usage_of(usage))


def _add(output: list[dict[str, Any]], block: Block, own_id: str) -> None:
    """Words that follow one another are one message, and words of one kind one part of it, as in a stream."""
    place = len(output)
    match block:
        case Text(text) | Refusal(text):
            if not output or output[-1]["type"] != "message":
                output.append(_message(_item_id("msg", own_id, place), "completed", []))
            parts, name = output[-1]["content"], "text" if isinstance(block, Text) else "refusal"
            if parts and name in parts[-1]:
                parts[-1][name] += text
            else:
                parts.append(_words(name, text))
        case Thinking(text, signature):
            output.append(_reasoning(_item_id("rs", own_id, place), text, encrypted_content(signature)))
        case RedactedThinking(data):
            output.append(_reasoning(_item_id("rs", own_id, place), "", encrypted_redacted(data)))
        case ToolUse(call_id, name, arguments):
            output.append(_call(_item_id("fc", own_id, place), call_id, name, arguments, "completed"))
        case _:
            raise UpstreamProtocolError("The upstream host's answer holds something that no model says.")


def _item_id(kind: str, own_id: str, place: int) -> str:
    return f"{kind}_{bare_id(own_id)}_{place}"


def _message(item_id: str, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def _words(name: str, text: str) -> dict[str, Any]:
    if name == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _reasoning(item_id: str, text: str, encrypted: str | None) -> dict[str, Any]:
    item = {"id": item_id, "type": "reasoning", "summary": summary_of(text)}
    return item if encrypted is None else item | {"encrypted_content": encrypted}


def _call(item_id: str, call_id: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    return {"id": item_id, "type": "function_call", "status": status, "call_id": call_id, "name": name,
            "arguments": arguments}  # fmt: skip


class _OpenCall:
    """A tool call on its way."""

    __slots__ = ("arguments", "call_id", "index", "is_checked", "item_id", "name")

    def __init__(self, index: int, item_id: str, started: ToolStarted) -> None:
        self.index = index
        self.item_id = item_id
        self.call_id = started.id
        self.name = started.name
        self.arguments: list[str] = []
        self.is_checked = False  # whether its arguments are whole was looked at; once, since they may be large

    def item(self, status: str) -> dict[str, Any]:
        return _call(self.item_id, self.call_id, self.name, "".join(self.arguments), status)


class StreamWriter:
    """Events -> events of a response. `write` raises UpstreamProtocolError for what is too much, or in no order."""

    __slots__ = (
        "_calls", "_closed_calls", "_context", "_cut", "_has_refusal", "_held", "_id", "_index", "_is_done",
        "_is_finished", "_item_id", "_kind", "_notes", "_output", "_parts", "_sequence", "_usage",
    )  # fmt: skip

    def __init__(self, context: ReplyContext, notes: Notes) -> None:
        self._context = context
        self._notes = notes
        self._id = ""
        self._sequence = -1
        self._output: dict[int, dict[str, Any]] = {}  # whole items, by index
        self._index = -1  # of the last item that began
        self._kind = ""  # of the open item that is no call: message, reasoning, or "" for none
        self._item_id = ""
        self._parts: list[tuple[str, list[str]]] = []  # of the open item: `text` or `refusal`, and its pieces
        self._calls: dict[int, _OpenCall] = {}  # open ones, by ordinal
        self._closed_calls: set[int] = set()
        self._held = 0
        self._usage = Usage()
        self._cut: str | None = None  # why the answer is incomplete
        self._has_refusal = self._is_finished = self._is_done = False

    def write(self, event: Event) -> bytes:
        """What the caller gets for one event."""
        match event:
            case TextDelta(text):
                return self._words("text", text, _TEXT_DELTA)
            case ToolDelta(call, arguments):
                return self._tool_delta(call, arguments)
            case ThinkingDelta(text):
                return self._thinking(text)
            case ToolStarted():
                return self._started() + self._close() + self._close_calls() + self._open_call(event)
            case RefusalDelta(text):
                self._has_refusal = True
                return self._words("refusal", text, _REFUSAL_DELTA)
            case ThinkingEnded(signature):
                return self._thinking_ended(encrypted_content(signature))
            case RedactedThinkingSeen(data):
                return self._started() + self._close() + self._thinking_ended(encrypted_redacted(data))
            case Started(own_id, usage):
                self._usage = usage
                return self._started(own_id)
            case UsageSeen(usage):
                self._usage = self._usage.updated(usage)
                return b""
            case Finished():
                self._is_finished = True
                self._cut = cut_reason(event.stop, self._has_refusal, self._notes)
                status = "completed" if self._cut is None else "incomplete"
                return self._started() + self._close(status) + self._close_calls(status)
            case Pinged():
                return comment("ping")
            case Ended():
                return self._end()
            case Failed():
                return b""  # whoever relays the stream ends it with an error

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._sequence += 1
        return named_event(kind, encode({"type": kind, "sequence_number": self._sequence, **fields}))

    def _started(self, own_id: str = "") -> bytes:
        if self._id:
            return b""
        self._id = answer_id(own_id, self._context)
        begun = _response(self._id, self._context, "in_progress", [])
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def _hold(self, text: str) -> None:
        self._held += len(text)
        if self._held > MAX_HELD_CHARACTERS:
            raise UpstreamProtocolError("The upstream host's answer is too large to hold.")

    # --- words and reasoning: one item is open at a time ---

    def _open(self, kind: str, item: Mapping[str, Any]) -> bytes:
        self._kind = kind
        return self._event("response.output_item.added", output_index=self._index, item=item)

    def _next_id(self, prefix: str) -> str:
        self._index += 1
        self._item_id = _item_id(prefix, self._id, self._index)
        return self._item_id

    def _words(self, name: str, text: str, kind: str) -> bytes:
        if not text:
            return b""
        self._hold(text)
        written = self._started()
        if self._kind != "message":
            written += self._close() + self._close_calls()
            written += self._open("message", _message(self._next_id("msg"), "in_progress", []))
        if not self._parts or self._parts[-1][0] != name:
            written += self._close_part()
            self._parts.append((name, []))
            written += self._content("response.content_part.added", part=_words(name, ""))
        self._parts[-1][1].append(text)
        further: dict[str, Any] = {"logprobs": []} if name == "text" else {}
        return written + self._content(kind, delta=text, **further)

    def _content(self, kind: str, **fields: Any) -> bytes:
        return self._event(kind, item_id=self._item_id, output_index=self._index, content_index=len(self._parts) - 1,
                           **fields)  # fmt: skip

    def _close_part(self) -> bytes:
        if not self._parts:
            return b""
        name, pieces = self._parts[-1]
        text = "".join(pieces)
        done = (self._content("response.output_text.done", text=text, logprobs=[]) if name == "text"
                else self._content("response.refusal.done", refusal=text))  # fmt: skip
        return done + self._content("response.content_part.done", part=_words(name, text))

    def _thinking(self, text: str) -> bytes:
        if not text:
            return b""
        self._hold(text)
        written = self._started()
        if self._kind != "reasoning":
            written += self._close() + self._open("reasoning", _reasoning(self._next_id("rs"), "", None))
        if not self._parts:
            self._parts.append(("summary", []))
            written += self._summary("response.reasoning_summary_part.added", part=_summary_part(""))
        self._parts[-1][1].append(text)
        return written + self._summary("response.reasoning_summary_text.delta", delta=text)

    def _summary(self, kind: str, **fields: Any) -> bytes:
        return self._event(kind, item_id=self._item_id, output_index=self._index, summary_index=0, **fields)

    def _thinking_ended(self, encrypted: str | None) -> bytes:
        if self._kind != "reasoning":
            if encrypted is None:
                return b""
            opened = self._started() + self._close()
            opened += self._open("reasoning", _reasoning(self._next_id("rs"), "", None))
            return opened + self._close(encrypted=encrypted)
        return self._close(encrypted=encrypted)

    def _close(self, status: str = "completed", encrypted: str | None = None) -> bytes:
        """Ends the open item that is no call."""
        kind, text = self._kind, "".join(self._parts[-1][1]) if self._parts else ""
        if not kind:
            return b""
        if kind == "message":
            written = self._close_part()
            item = _message(self._item_id, status, [_words(name, "".join(pieces)) for name, pieces in self._parts])
        else:
            written = b""
            if self._parts:
                written = self._summary("response.reasoning_summary_text.done", text=text)
                written += self._summary("response.reasoning_summary_part.done", part=_summary_part(text))
            item = _reasoning(self._item_id, text, encrypted)
        self._kind, self._parts = "", []
        return written + self._whole(self._index, item)

    def _whole(self, index: int, item: dict[str, Any]) -> bytes:
        self._output[index] = item
        return self._event("response.output_item.done", output_index=index, item=item)

    # --- tool calls: several may grow side by side ---

    def _open_call(self, started: ToolStarted) -> bytes:
        opened = _OpenCall(self._index + 1, self._next_id("fc"), started)
        self._calls[started.call] = opened
        return self._event("response.output_item.added", output_index=opened.index, item=opened.item("in_progress"))

    def _tool_delta(self, call: int, arguments: str) -> bytes:
        opened = self._calls.get(call)
        if opened is None:
            if call in self._closed_calls and not arguments.strip():
                return b""
            raise UpstreamProtocolError("The upstream host's answer adds to a tool call that was whole.")
        self._hold(arguments)
        opened.arguments.append(arguments)
        return self._event("response.function_call_arguments.delta", item_id=opened.item_id,
                           output_index=opened.index, delta=arguments)  # fmt: skip

    def _close_calls(self, status: str = "") -> bytes:
        """Ends calls whose arguments are whole, so that agents can begin with them; with a status, every one."""
        written = b""
        for call, opened in list(self._calls.items()):
            if opened.is_checked and not status:
                continue
            opened.is_checked = True
            arguments = "".join(opened.arguments)
            if status == "completed" and not arguments.strip():  # a call without arguments has an empty object of them
                written += self._tool_delta(call, "{}")
                arguments = "".join(opened.arguments)
            is_whole = object_text(arguments) is not None
            if not (is_whole or status):
                continue
            del self._calls[call]
            self._closed_calls.add(call)
            written += self._event("response.function_call_arguments.done", item_id=opened.item_id,
                                   output_index=opened.index, name=opened.name, arguments=arguments)  # fmt: skip
            written += self._whole(opened.index, opened.item("completed" if is_whole else status))
        return written

    def _end(self) -> bytes:
        if self._is_done or not self._is_finished:
            return b""
        self._is_done = True
        output = [self._output[index] for index in sorted(self._output)]
        response = _ended(self._id, self._context, output, self._cut, self._usage)
        return self._event(f"response.{response['status']}", response=response)


def _summary_part(text: str) -> dict[str, str]:
    """The one part of a summary."""
    return {"type": "summary_text", "text": text}
