"""A GenerateContentResponse, whole or one of a stream -> canonical values (ai.google.dev/api/generate-content, read
2026-11).

Each event of a stream is a whole response that holds the next parts; there is no mark of the end but the reason to stop
and the end of the bytes. A whole answer is read as a stream of one event.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from relay_contract.errors import MalformedJson, UpstreamProtocolError
from relay_edge.protocols.canonical import (
    Answer,
    Ended,
    Event,
    Failed,
    Finished,
    RefusalDelta,
    Started,
    Stop,
    TextDelta,
    ThinkingDelta,
    ThinkingEnded,
    ToolDelta,
    ToolStarted,
    UsageSeen,
)
from relay_edge.protocols.fields import decode_object, encode
from relay_edge.protocols.gathered import Gathering
from relay_edge.protocols.gemini.signing import CALL, TEXT, THOUGHT, sign_part
from relay_edge.protocols.gemini.usage import read_usage
from relay_edge.protocols.sse import ServerSentEvent

_STOPS = {
    "STOP": Stop.END,
    "MAX_TOKENS": Stop.LENGTH,
    "SAFETY": Stop.REFUSAL,
    "RECITATION": Stop.REFUSAL,
    "BLOCKLIST": Stop.REFUSAL,
    "PROHIBITED_CONTENT": Stop.REFUSAL,
    "SPII": Stop.REFUSAL,
    "MODEL_ARMOR": Stop.REFUSAL,
    "IMAGE_SAFETY": Stop.REFUSAL,
    "IMAGE_PROHIBITED_CONTENT": Stop.REFUSAL,
    "IMAGE_RECITATION": Stop.REFUSAL,
}
_FAULTS = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
    }
)
"""The model failed at its task: no answer, and another try may give one."""

MAX_MALFORMED = 1
MAX_CALLS = 512


def read_answer(body: bytes) -> Answer:
    """Raises UpstreamProtocolError for what is no answer, and for one that the model failed to give."""
    try:
        document = decode_object(body)
    except MalformedJson as error:
        raise UpstreamProtocolError from error
    gathering = Gathering()
    for event in StreamReader().read(document):
        gathering.add(event)
    return gathering.answer()


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _string(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


class StreamReader:
    """Responses -> events. `feed` raises UpstreamProtocolError for a stream that cannot be understood."""

    __slots__ = ("_call_ids", "_id", "_is_started", "_is_thinking", "_malformed", "has_ended", "has_finished")

    def __init__(self) -> None:
        self._id = ""
        self._call_ids: set[str] = set()
        self._malformed = 0
        self._is_started = self._is_thinking = False
        self.has_ended = False
        self.has_finished = False

    def feed(self, event: ServerSentEvent) -> list[Event]:
        """What one event says."""
        if self.has_ended:
            return []
        try:
            document = decode_object(event.data)
        except MalformedJson as error:
            self._malformed += 1
            if self._malformed > MAX_MALFORMED:
                raise UpstreamProtocolError("The upstream host's stream is garbled.") from error
            return []
        return self.read(document)

    def end(self) -> list[Event]:
        """At the end of the bytes: an answer whose reason came is whole."""
        if self.has_ended or not self.has_finished:
            return []
        self.has_ended = True
        return [Ended()]

    def read(self, document: Mapping[str, Any]) -> list[Event]:
        """What one response says. Usage comes before the reason to stop, so that whoever writes it has both."""
        if document.get("error") is not None:
            error = document["error"]
            is_object = isinstance(error, dict)
            return (
                [Failed(_string(error, "status").lower(), _string(error, "message"))] if is_object else [Failed("", "")]
            )
        events: list[Event] = []
        if not self._is_started:
            self._is_started = True
            self._id = _string(document, "responseId")
            events.append(Started(self._id, read_usage(document.get("usageMetadata"))))
        elif document.get("usageMetadata") is not None:
            events.append(UsageSeen(read_usage(document["usageMetadata"])))
        if self.has_finished:
            return events
        candidate = next((each for each in _objects(document.get("candidates")) if not each.get("index")), None)
        feedback = document.get("promptFeedback")
        if candidate is not None:
            self._candidate(candidate, events)
        elif isinstance(feedback, Mapping) and _string(feedback, "blockReason"):
            if message := _string(feedback, "blockReasonMessage"):
                events.append(RefusalDelta(message))
            self._finish(Stop.REFUSAL, events)
        return events

    def _candidate(self, candidate: Mapping[str, Any], events: list[Event]) -> None:
        content = candidate.get("content")
        for part in _objects(content.get("parts")) if isinstance(content, Mapping) else ():
            self._part(part, events)
        reason = _string(candidate, "finishReason")
        if reason in _FAULTS:
            events.append(Failed(reason.lower(), _string(candidate, "finishMessage")))
        elif reason:
            stop = _STOPS.get(reason, Stop.UNKNOWN)
            if self._call_ids and stop in (Stop.END, Stop.UNKNOWN):
                stop = Stop.TOOL_USE
            if stop is Stop.REFUSAL and (message := _string(candidate, "finishMessage")):
                events.append(RefusalDelta(message))
            self._finish(stop, events)

    def _finish(self, stop: Stop, events: list[Event]) -> None:
        self._end_thinking("", "", events)
        self.has_finished = True
        events.append(Finished(stop))

    def _part(self, part: Mapping[str, Any], events: list[Event]) -> None:
        signature, text = _string(part, "thoughtSignature"), _string(part, "text")
        call = part.get("functionCall")
        if isinstance(call, dict):
            self._call(call, signature, events)
        elif part.get("thought") is True:
            if text:
                self._is_thinking = True
                events.append(ThinkingDelta(text))
            if signature:
                self._end_thinking(THOUGHT, signature, events)
        elif text or signature:  # dropped: parts of server tools and pictures: no caller can have asked for them
            self._end_thinking(TEXT, signature, events)
            if text:
                events.append(TextDelta(text))

    def _call(self, call: Mapping[str, Any], signature: str, events: list[Event]) -> None:
        name, arguments = _string(call, "name"), call.get("args")
        if not name or not isinstance(arguments, dict | None):
            raise UpstreamProtocolError("The upstream host's answer calls a tool in a way that cannot be read.")
        if len(self._call_ids) >= MAX_CALLS:
            raise UpstreamProtocolError("The upstream host's answer calls too many tools.")
        written = encode(arguments or {}).decode()
        call_id = _string(call, "id")
        if not call_id or call_id in self._call_ids:  # hosts that only speak the shape repeat the function's name
            call_id = self._made_up_id(name + written)
        self._end_thinking(CALL + call_id, signature, events)
        number = len(self._call_ids)
        events += [ToolStarted(number, call_id, name), ToolDelta(number, written)]
        self._call_ids.add(call_id)

    def _made_up_id(self, what: str) -> str:
        """An id for a call that came without one: different for each call of an answer, and of a conversation."""
        digest = hashlib.sha256(f"{self._id}\0{what}".encode("utf-8", "surrogatepass")).hexdigest()[:20]
        return f"call_{digest}_{len(self._call_ids)}"

    def _end_thinking(self, slot: str, signature: str, events: list[Event]) -> None:
        if signature:
            events.append(ThinkingEnded(sign_part(slot, signature)))
        elif self._is_thinking:
            events.append(ThinkingEnded(""))
        self._is_thinking = False
