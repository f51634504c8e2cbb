"""A call in one vendor's shape served by a host that speaks another's: request there, answer back. Pure; no I/O.

    caller's bytes -> canonical request -> host's bytes -> ... -> canonical answer or events -> caller's bytes

`Translator` belongs to one call and may be asked for several hosts; a `Translation` belongs to one try.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from relay_contract.errors import MalformedJson, UpstreamProtocolError
from relay_contract.nouns import Capabilities, WireShape
from relay_edge.error_shapes import ErrorShape, HostRefusal, host_refusal_body
from relay_edge.protocols import anthropic_messages, openai_chat, openai_responses
from relay_edge.protocols.anthropic_messages import read_answer as anthropic_read_answer
from relay_edge.protocols.anthropic_messages import read_request as anthropic_read_request
from relay_edge.protocols.anthropic_messages import write_answer as anthropic_write_answer
from relay_edge.protocols.anthropic_messages import write_request as anthropic_write_request
from relay_edge.protocols.canonical import (
    Answer,
    Block,
    Ended,
    Event,
    Failed,
    Finished,
    Pinged,
    RefusalDelta,
    ReplyContext,
    Request,
    Started,
    Stop,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStarted,
    ToolUse,
    Usage,
    UsageSeen,
)
from relay_edge.protocols.estimate import CHARACTERS_PER_TOKEN
from relay_edge.protocols.fitness import check_fitness
from relay_edge.protocols.gathered import Gathering, events_of
from relay_edge.protocols.gemini import read_answer as gemini_read_answer
from relay_edge.protocols.gemini import read_error as gemini_read_error
from relay_edge.protocols.gemini import write_request as gemini_write_request
from relay_edge.protocols.json_in_words import note_answer
from relay_edge.protocols.model_traits import Traits, traits_of
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.openai_chat import read_answer as openai_read_answer
from relay_edge.protocols.openai_chat import read_request as openai_read_request
from relay_edge.protocols.openai_chat import write_answer as openai_write_answer
from relay_edge.protocols.openai_chat import write_request as openai_write_request
from relay_edge.protocols.openai_responses import read_answer as responses_read_answer
from relay_edge.protocols.openai_responses import read_request as responses_read_request
from relay_edge.protocols.openai_responses import write_answer as responses_write_answer
from relay_edge.protocols.openai_responses import write_request as responses_write_request
from relay_edge.protocols.scrub import scrubbed
from relay_edge.protocols.sse import EventReader, EventTooLargeError, ServerSentEvent
from relay_edge.protocols.written import Written

_TOO_DEEP = "The body is nested too deeply."


class EventsReader(Protocol):
    """A vendor's stream, read."""

    has_ended: bool

    @property
    def has_finished(self) -> bool:
        """Whether the model has said why it stopped."""

    def feed(self, event: ServerSentEvent) -> list[Event]:
        """Raises UpstreamProtocolError."""

    def end(self) -> list[Event]:
        """What the end of the bytes means; nothing where the stream is cut."""


class EventsWriter(Protocol):
    """A vendor's stream, written."""

    def write(self, event: Event) -> bytes:
        """Raises UpstreamProtocolError."""


@dataclass(frozen=True, slots=True)
class HostCodec:
    """What a vendor's folder can do towards hosts."""

    write_request: Callable[[Request, str, Traits, Notes], Written]
    read_answer: Callable[[bytes], Answer]
    read_error: Callable[[int, bytes], HostRefusal]
    events_reader: Callable[[], EventsReader]


@dataclass(frozen=True, slots=True)
class Codec:
    """What a vendor's folder can do, towards callers and hosts."""

    read_request: Callable[[bytes, Notes], Request]
    write_request: Callable[[Request, str, Traits, Notes], Written]
    read_answer: Callable[[bytes], Answer]
    write_answer: Callable[[Answer, ReplyContext, Notes], bytes]
    read_error: Callable[[int, bytes], HostRefusal]
    events_reader: Callable[[], EventsReader]
    events_writer: Callable[[ReplyContext, Notes], EventsWriter]
    error_shape: ErrorShape


CODECS: dict[WireShape, Codec] = {
    WireShape.OPENAI_CHAT: Codec(
        openai_read_request.read_request,
        openai_write_request.write_request,
        openai_read_answer.read_answer,
        openai_write_answer.write_answer,
        openai_read_answer.read_error,
        openai_read_answer.StreamReader,
        openai_write_answer.StreamWriter,
        openai_chat.SURFACE.error_shape,
    ),
    WireShape.OPENAI_RESPONSES: Codec(
        responses_read_request.read_request,
        responses_write_request.write_request,
        responses_read_answer.read_answer,
        responses_write_answer.write_answer,
        responses_read_answer.read_error,
        responses_read_answer.StreamReader,
        responses_write_answer.StreamWriter,
        openai_responses.SURFACE.error_shape,
    ),
    WireShape.ANTHROPIC_MESSAGES: Codec(
        anthropic_read_request.read_request,
        anthropic_write_request.write_request,
        anthropic_read_answer.read_answer,
        anthropic_write_answer.write_answer,
        anthropic_read_answer.read_error,
        anthropic_read_answer.StreamReader,
        anthropic_write_answer.StreamWriter,
        anthropic_messages.SURFACE.error_shape,
    ),
}
"""The shapes that callers speak."""

HOST_CODECS: dict[WireShape, HostCodec] = {
    shape: HostCodec(codec.write_request, codec.read_answer, codec.read_error, codec.events_reader)
    for shape, codec in CODECS.items()
} | {
    WireShape.GEMINI: HostCodec(
        gemini_write_request.write_request,
        gemini_read_answer.read_answer,
        gemini_read_error.read_error,
        gemini_read_answer.StreamReader,
    )
}
"""The shapes that hosts speak."""


class Translator:
    """One caller's request, read once."""

    __slots__ = ("_body_bytes", "_created", "_id", "_is_strict", "_notes", "_request", "_shape")

    def __init__(
        self, shape: WireShape, body: bytes, *, created: int, fallback_id: str, is_strict: bool = False
    ) -> None:
        """`created`: seconds since 1970; `fallback_id`: for an answer without an id; `is_strict`: what a host cannot be
        told is refused instead of left out. Raises BadRequest."""
        self._shape = shape
        self._notes = Notes(is_strict=is_strict)
        self._is_strict = is_strict
        try:
            self._request = CODECS[shape].read_request(body, self._notes)
        except RecursionError as error:
            raise MalformedJson(_TOO_DEEP) from error
        self._body_bytes = len(body)
        self._created = created
        self._id = fallback_id

    def to(self, shape: WireShape, upstream_name: str, capabilities: Capabilities) -> "Translation":
        """The call as a host of this shape takes it. Raises BadRequest for what it, or the model, cannot be told."""
        notes = self._notes.copy(is_strict=self._is_strict)
        request, host = self._request, HOST_CODECS[shape]
        traits = traits_of(upstream_name, capabilities)
        try:
            check_fitness(request, traits)
            written = host.write_request(request, upstream_name, traits, notes)
        except RecursionError as error:
            raise MalformedJson(_TOO_DEEP) from error
        context = ReplyContext(
            id=self._id,
            model=request.model,
            created=self._created,
            wants_usage=request.wants_stream_usage,
            tool_names=written.tool_names,
            output_tool=written.output_tool,
            estimated_input_tokens=max(1, self._body_bytes // CHARACTERS_PER_TOKEN),  # shown until the host says it
            echo=request.echo,
            wants_json=notes.has("approximated", "response_format"),
        )
        answer_notes = notes.copy(is_strict=False)  # nothing of an answer is the caller's fault
        return Translation(CODECS[self._shape], host, written.body, context, answer_notes, is_stream=request.is_stream)


class Translation:
    """One try at a host of another shape."""

    __slots__ = (
        "_caller", "_context", "_host", "body", "delivered_characters", "finish", "is_stream", "notes",
        "usage",
    )  # fmt: skip

    def __init__(
        self, caller: Codec, host: HostCodec, body: bytes, context: ReplyContext, notes: Notes, *, is_stream: bool
    ) -> None:
        self._caller = caller
        self._host = host
        self._context = context
        self.body = body  # what the host gets
        self.notes = notes
        self.is_stream = is_stream
        self.usage: Usage | None = None
        """What the host of a whole answer said was used. None: nothing; the caller is told an estimate."""
        self.finish = ""
        """Why the model stopped, a Stop value; "" before there is a whole answer."""
        self.delivered_characters = 0
        """Of text, thinking and arguments, of a whole answer."""

    def whole(self, body: bytes, *, is_event_stream: bool = False) -> bytes:
        """A host's answer that came whole, as the caller asked for it: hosts answer with a document where a stream was
        asked for, and the other way round. Raises UpstreamProtocolError."""
        try:
            read = _gathered(body, self._host.events_reader()) if is_event_stream else self._host.read_answer(body)
            answer = self._own(read)
            if not self.is_stream:
                return self._caller.write_answer(answer, self._context, self.notes)
            writer = self._caller.events_writer(self._context, self.notes)
            return b"".join(map(writer.write, events_of(answer)))
        except RecursionError as error:
            raise UpstreamProtocolError("The upstream host's answer is nested too deeply.") from error

    def _own(self, answer: Answer) -> Answer:
        """The answer with the caller's own names in it, and with figures where the host gave none."""
        blocks = tuple(_named_back(block, self._context) for block in answer.blocks)
        stop, usage = answer.stop, answer.usage
        if self._context.output_tool is not None and stop is Stop.TOOL_USE:
            stop = Stop.END
        if self._context.wants_json and stop is Stop.END:
            note_answer(answer.blocks, self.notes)
        self.finish = stop.value
        self.delivered_characters = sum(map(_characters, answer.blocks))
        if _is_said(usage):
            self.usage = usage
        else:
            self.notes.add("approximated", "usage")
            usage = _estimated(self.delivered_characters, self._context)
        return replace(answer, blocks=blocks, stop=stop, usage=usage)

    def refusal(self, status: int, body: bytes, request_id: str) -> tuple[int, bytes]:
        """A host's error, in the caller's shape, with what is nobody else's business taken out."""
        found = self._host.read_error(status, body)
        shape = self._caller.error_shape
        message = scrubbed(found.message) or f"The host of this model answered with status {status}."
        code, status = found.code, found.status
        if shape is ErrorShape.OPENAI:
            status = 503 if status == 529 else status  # only Anthropic knows 529
        else:
            status = 529 if status == 503 else status
            if code == "context_length_exceeded" and "prompt is too long" not in message:
                message = f"prompt is too long: {message}"  # clients of this shape look for these words
        return status, host_refusal_body(replace(found, status=status, message=message, code=code), shape, request_id)

    def stream(self) -> "StreamTranslation":
        """For a host's answer that is a stream."""
        return StreamTranslation(self._host.events_reader(), self._caller.events_writer(self._context, self.notes),
                                 self._context)  # fmt: skip


def _gathered(body: bytes, reader: EventsReader) -> Answer:
    """The answer that a whole event stream tells."""
    parser, gathering = EventReader(), Gathering()
    try:
        found = [*parser.feed(body), *parser.end()]
    except EventTooLargeError as error:
        raise UpstreamProtocolError("The upstream host's stream has an event without an end.") from error
    for event in found:
        for told in reader.feed(event):
            gathering.add(told)
    return gathering.answer()


def _is_said(usage: Usage) -> bool:
    return usage.input is not None or usage.output is not None


def _characters(block: Block) -> int:
    return len(block.arguments if isinstance(block, ToolUse) else getattr(block, "text", ""))


def _estimated(output_characters: int, context: ReplyContext) -> Usage:
    output = -(-output_characters // CHARACTERS_PER_TOKEN)
    return Usage(input_uncached=context.estimated_input_tokens, output=output)


def _named_back(block: Block, context: ReplyContext) -> Block:
    if not isinstance(block, ToolUse):
        return block
    if block.name == context.output_tool:
        return Text(block.arguments)
    name = context.tool_names.get(block.name)
    return block if name is None else replace(block, name=name)


class StreamTranslation:
    """Bytes of a host's stream in, bytes of the caller's out.

    Nothing comes out before the first content, so that a stream which only greets and then fails can still be tried
    elsewhere. Raises UpstreamProtocolError; after that it is of no further use.
    """

    __slots__ = (
        "_context", "_events", "_held", "_output_call", "_reader", "_writer", "delivered_characters", "failed",
        "finish", "has_content", "usage",
    )  # fmt: skip

    def __init__(self, reader: EventsReader, writer: EventsWriter, context: ReplyContext) -> None:
        self._events = EventReader()
        self._reader = reader
        self._writer = writer
        self._context = context
        self._held: list[bytes] = []
        self._output_call = -1  # number of the call whose arguments are the answer's text
        self.has_content = False
        self.failed: Failed | None = None
        """The host reported an error in its stream; nothing after it counts."""
        self.usage: Usage | None = None
        """What the host said was used, so far. None: nothing; the caller is told an estimate at the end."""
        self.finish = ""
        """Why the model stopped, a Stop value; "" as long as that is not known."""
        self.delivered_characters = 0
        """Of text, thinking and arguments, so far."""

    @property
    def has_ended(self) -> bool:
        """Whether the answer is whole: what a host sends after it is of no interest."""
        return self._reader.has_ended

    @property
    def can_end(self) -> bool:
        """Whether nothing of substance is missing, although the host did not end its stream."""
        return self._reader.has_finished

    def feed(self, piece: bytes) -> bytes:
        """What the caller gets for these bytes."""
        try:
            found = self._events.feed(piece)
        except EventTooLargeError as error:
            raise UpstreamProtocolError("The upstream host's stream has an event without an end.") from error
        try:
            return self._read(found)
        except RecursionError as error:
            raise UpstreamProtocolError("The upstream host's stream is nested too deeply.") from error

    def end(self) -> bytes:
        """At the end of the host's bytes. Raises UpstreamProtocolError for a stream that is cut."""
        written = self._read(self._events.end())
        if self.failed is None and not self.has_ended:
            if not self._reader.has_finished:
                raise UpstreamProtocolError("The upstream host's stream ended without its last event.")
            written += self._write(self._reader.end())
        return written

    def _read(self, found: list[ServerSentEvent]) -> bytes:
        written: list[bytes] = []
        for event in found:
            if self.failed is not None or self._reader.has_ended:
                break
            written.append(self._write(self._reader.feed(event)))
        return b"".join(written)

    def _write(self, events: list[Event]) -> bytes:
        written: list[bytes] = []
        for event in events:
            if isinstance(event, Failed):
                self.failed = event
                break
            if isinstance(event, Ended) and self.usage is None:
                estimated = _estimated(self.delivered_characters, self._context)
                written.append(self._writer.write(UsageSeen(estimated)))
            if not self.has_content:
                if isinstance(event, Pinged):
                    continue
                self.has_content = not isinstance(event, Started | UsageSeen)
            written.append(self._writer.write(self._own(event)))
        if not self.has_content:
            self._held += written
            return b""
        if self._held:
            written[:0] = self._held
            self._held = []
        return b"".join(written)

    def _own(self, event: Event) -> Event:
        """The event with the caller's own names in it."""
        context = self._context
        match event:
            case ToolStarted(call, _, name):
                if name == context.output_tool:
                    self._output_call = call
                    return TextDelta("")
                own = context.tool_names.get(name)
                return event if own is None else replace(event, name=own)
            case ToolDelta(call, arguments):
                self.delivered_characters += len(arguments)
                return TextDelta(arguments) if call == self._output_call else event
            case TextDelta(text) | ThinkingDelta(text) | RefusalDelta(text):
                self.delivered_characters += len(text)
                return event
            case Started(_, usage) | UsageSeen(usage):
                if self.usage is not None:
                    self.usage = self.usage.updated(usage)
                elif _is_said(usage):
                    self.usage = usage
                return event
            case Finished(stop):
                if stop is Stop.TOOL_USE and self._output_call >= 0:
                    event = replace(event, stop=Stop.END)
                self.finish = event.stop.value
                return event
            case _:
                return event
