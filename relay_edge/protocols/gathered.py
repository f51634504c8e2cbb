"""A stream's events put together to a whole answer, and a whole answer told as events. Pure.

Hosts answer in one piece although a stream was asked for, and the other way round; and a vendor whose stream consists
of whole answers is read in one way for both.
"""

from relay_contract.errors import UpstreamProtocolError
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
from relay_edge.protocols.fields import object_text


class _Growing:
    """A block whose text is on its way."""

    __slots__ = ("kind", "parts", "start")

    def __init__(self, kind: type[Text | Refusal | Thinking | ToolUse], start: ToolStarted | None = None) -> None:
        self.kind = kind
        self.parts: list[str] = []
        self.start = start

    def block(self) -> Block:
        text = "".join(self.parts)
        if self.start is not None:
            arguments = object_text(text) if text.strip() else "{}"
            if arguments is None:
                raise UpstreamProtocolError(
                    "The upstream host's answer calls a tool with arguments that are no JSON object."
                )
            return ToolUse(self.start.id, self.start.name, arguments)
        return Refusal(text) if self.kind is Refusal else Thinking(text) if self.kind is Thinking else Text(text)


class Gathering:
    """Takes a stream's events in their order."""

    __slots__ = ("_blocks", "_calls", "_finished", "_id", "_usage")

    def __init__(self) -> None:
        self._id = ""
        self._blocks: list[Block | _Growing] = []
        self._calls: dict[int, _Growing] = {}
        self._usage = Usage()
        self._finished: Finished | None = None

    def add(self, event: Event) -> None:
        """Raises UpstreamProtocolError for an error that the host reports."""
        match event:
            case TextDelta(text):
                self._grow(Text, text)
            case RefusalDelta(text):
                self._grow(Refusal, text)
            case ThinkingDelta(text):
                self._grow(Thinking, text)
            case ThinkingEnded(signature):
                self._end_thinking(signature)
            case RedactedThinkingSeen(data):
                self._blocks.append(RedactedThinking(data))
            case ToolStarted(call):
                self._calls[call] = growing = _Growing(ToolUse, event)
                self._blocks.append(growing)
            case ToolDelta(call, arguments):
                if call in self._calls:
                    self._calls[call].parts.append(arguments)
            case Started(own_id, usage):
                self._id, self._usage = own_id, usage
            case UsageSeen(usage):
                self._usage = self._usage.updated(usage)
            case Finished():
                self._finished = event
            case Failed(kind):
                raise UpstreamProtocolError(f"The upstream host reported {kind or 'an error'} in its answer.")
            case _:
                pass

    def answer(self) -> Answer:
        """The whole. Raises UpstreamProtocolError where the model did not say why it stopped."""
        if self._finished is None:
            raise UpstreamProtocolError("The upstream host's answer has no end.")
        blocks = tuple(part.block() if isinstance(part, _Growing) else part for part in self._blocks)
        return Answer(self._id, blocks, self._finished.stop, self._finished.stop_sequence, self._usage)

    def _grow(self, kind: type[Text | Refusal | Thinking], text: str) -> None:
        if not text:
            return
        last = self._blocks[-1] if self._blocks else None
        if not isinstance(last, _Growing) or last.kind is not kind:
            last = _Growing(kind)
            self._blocks.append(last)
        last.parts.append(text)

    def _end_thinking(self, signature: str) -> None:
        last = self._blocks[-1] if self._blocks else None
        if isinstance(last, _Growing) and last.kind is Thinking:
            self._blocks[-1] = Thinking("".join(last.parts), signature)
        elif signature:
            self._blocks.append(Thinking("", signature))


def events_of(answer: Answer) -> list[Event]:
    """The events of a stream that tells this answer."""
    events: list[Event] = [Started(answer.id, answer.usage)]
    calls = 0
    for block in answer.blocks:
        match block:
            case Text(text):
                events.append(TextDelta(text))
            case Refusal(text):
                events.append(RefusalDelta(text))
            case Thinking(text, signature):
                events += [ThinkingDelta(text)] if text else []
                events.append(ThinkingEnded(signature))
            case RedactedThinking(data):
                events.append(RedactedThinkingSeen(data))
            case ToolUse(call_id, name, arguments):
                events += [ToolStarted(calls, call_id, name), ToolDelta(calls, arguments)]
                calls += 1
            case _:
                raise UpstreamProtocolError("The upstream host's answer holds something that no model says.")
    return [*events, Finished(answer.stop, answer.stop_sequence), UsageSeen(answer.usage), Ended()]
