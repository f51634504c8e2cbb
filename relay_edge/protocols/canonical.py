"""What a call to a model and its answer mean, in no vendor's words.

A translation reads one vendor's JSON into these values and writes another's from them, so that each vendor's folder
knows itself and nobody else. Immutable, no I/O; of ours it imports the contract's meters alone.

Tool arguments and thinking signatures are text and stay as they came, byte for byte: a number that is written anew
or a signature that lost a character would be another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

from relay_contract import usage as contract

JsonObject: TypeAlias = Mapping[str, Any]
"""A JSON object as decoded; key order is the document's."""

# --- content ---


@dataclass(frozen=True, slots=True)
class CacheMark:
    """The caller wants the prompt up to here cached. `ttl` is `5m`, `1h`, or "" for the vendor's default."""

    ttl: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str
    cache: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class Inline:
    """Bytes inside the document, as base64 text."""

    media_type: str
    data: str


@dataclass(frozen=True, slots=True)
class Link:
    """An http(s) address that the vendor fetches; the relay never does."""

    url: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture."""

    source: Inline | Link
    cache: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A PDF, or plain text when the source is Text."""

    source: Inline | Link | Text
    title: str = ""
    cache: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound, as wav or mp3. `place` is where it stood in the caller's document."""

    source: Inline
    place: str = ""


@dataclass(frozen=True, slots=True)
class Thinking:
    """The model's reasoning. `text` may be empty with a signature; "" for a signature means that there is none.

    `signatures.py` says whose signature it is.
    """

    text: str
    signature: str = ""


@dataclass(frozen=True, slots=True)
class RedactedThinking:
    """Reasoning that only the vendor can read."""

    data: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The model's words for declining."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The model calls a tool. `arguments` is the text of one JSON object."""

    id: str
    name: str
    arguments: str
    cache: CacheMark | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered."""

    tool_use_id: str
    content: tuple[Text | Image | Document, ...]
    is_error: bool = False
    cache: CacheMark | None = None
    place: str = ""  # where it stood in the caller's document


Block: TypeAlias = Text | Image | Document | Audio | Thinking | RedactedThinking | Refusal | ToolUse | ToolResult


class Role(Enum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. `place` is where it stood in the caller's document, e.g. `messages[3]`, for errors."""

    role: Role
    blocks: tuple[Block, ...]
    place: str = ""


# --- request ---


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `schema` is a JSON schema whose type is object."""

    name: str
    description: str | None
    schema: JsonObject
    strict: bool | None = None
    cache: CacheMark | None = None


class ToolMode(Enum):
    """How free the model is."""

    AUTO = "auto"
    ANY = "any"  # at least one tool
    NONE = "none"
    NAMED = "named"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`name` belongs to NAMED; `allowed`, where not empty, narrows the tools to these."""

    mode: ToolMode
    name: str = ""
    allowed: tuple[str, ...] = ()


class Effort(Enum):
    """How hard to think."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the caller said about thinking. `budget_tokens` is a manual budget; `is_on` None: not said."""

    is_on: bool | None = None
    effort: Effort | None = None
    budget_tokens: int | None = None
    is_shown: bool | None = None  # False: the caller wants no text of it


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The answer has to be JSON of this schema; None for any JSON object."""

    schema: JsonObject | None
    name: str = ""
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A call."""

    model: str
    turns: tuple[Turn, ...]
    turns_place: str = "messages"  # the field that they stood in
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning: Reasoning | None = None
    output: OutputSchema | None = None
    user: str | None = None
    service_tier: str | None = None
    is_stream: bool = False
    wants_stream_usage: bool = False  # the caller asked for a usage event at the end of its stream
    echo: JsonObject = field(default_factory=dict)  # what an answer in the caller's shape repeats of its call

    @property
    def allowed_tools(self) -> tuple[Tool, ...]:
        """The tools, less those that the choice leaves out."""
        allowed = self.tool_choice.allowed if self.tool_choice is not None else ()
        return tuple(tool for tool in self.tools if tool.name in allowed) if allowed else self.tools


# --- answer ---


class Stop(Enum):
    """Why the model stopped."""

    END = "end"
    SEQUENCE = "sequence"
    LENGTH = "length"
    CONTEXT = "context"  # the context window is full
    TOOL_USE = "tool_use"
    REFUSAL = "refusal"
    PAUSE = "pause"  # a server tool's loop; the vendor wants the answer sent back
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as vendors say them. The first five are disjoint, those of audio and images are parts of them as noted.
    None: not said."""

    input_uncached: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    reasoning: int | None = None  # part of output
    audio_input: int | None = None  # part of input_uncached
    audio_output: int | None = None  # part of output
    server_tool_requests: int | None = None
    image_input: int | None = None  # part of input_uncached
    image_output: int | None = None  # part of output

    @property
    def input(self) -> int | None:
        """All input tokens, cached or not; None when nothing was said."""
        meters = (self.input_uncached, self.cache_read, self.cache_write_5m, self.cache_write_1h)
        return sum(meter for meter in meters if meter is not None) if any(m is not None for m in meters) else None

    def meters(self) -> contract.Usage | None:
        """As it is priced and written down; None when nothing was said."""
        if _meters(self) == _NOT_SAID:
            return None
        audio_input, audio_output = self.audio_input or 0, self.audio_output or 0
        image_input, image_output = self.image_input or 0, self.image_output or 0
        return contract.Usage(
            input_tokens=max(0, (self.input_uncached or 0) - audio_input - image_input),
            cache_read_tokens=self.cache_read or 0,
            cache_write_5m_tokens=self.cache_write_5m or 0,
            cache_write_1h_tokens=self.cache_write_1h or 0,
            input_audio_tokens=audio_input,
            input_image_tokens=image_input,
            output_tokens=max(0, (self.output or 0) - audio_output - image_output),
            output_audio_tokens=audio_output,
            output_image_tokens=image_output,
            reasoning_tokens=self.reasoning or 0,
            server_tool_calls=self.server_tool_requests or 0,
        )

    def updated(self, later: "Usage") -> "Usage":
        """Later figures replace earlier ones, since vendors report totals; what is not said again stays."""
        return Usage(
            *(old if new is None else new for old, new in zip(_meters(self), _meters(later), strict=True)),
        )


def _meters(usage: Usage) -> tuple[int | None, ...]:
    return (
        usage.input_uncached, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h, usage.output,
        usage.reasoning, usage.audio_input, usage.audio_output, usage.server_tool_requests,
        usage.image_input, usage.image_output,
    )  # fmt: skip


_NOT_SAID = _meters(Usage())


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    id: str
    blocks: tuple[Block, ...]
    stop: Stop
    stop_sequence: str | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class ReplyContext:
    """What writing an answer has to know of its request."""

    id: str  # for an answer that has none of its own
    model: str  # as the caller wrote it
    created: int  # seconds since 1970
    wants_usage: bool
    tool_names: Mapping[str, str]  # as the host knows them -> as the caller does; only those that differ
    output_tool: str | None  # a tool of ours whose arguments are the answer's text
    estimated_input_tokens: int
    echo: JsonObject = field(default_factory=dict)  # the request's
    wants_json: bool = False  # in words alone: the host could not be told to hold the model to it


# --- events of a stream, in the order in which they happen ---


@dataclass(frozen=True, slots=True)
class Started:
    """The answer begins; once."""

    id: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More words."""

    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """More words of declining."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingEnded:
    """The end of one block of reasoning, maybe without any text before it."""

    signature: str


@dataclass(frozen=True, slots=True)
class RedactedThinkingSeen:
    """A whole block of hidden reasoning."""

    data: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A tool call begins. `call` counts the stream's calls from 0."""

    call: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """More of a call's arguments; deltas of several calls may alternate."""

    call: int
    arguments: str


@dataclass(frozen=True, slots=True)
class UsageSeen:
    """Totals so far."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Finished:
    """The model has stopped; only usage may follow."""

    stop: Stop
    stop_sequence: str | None = None


@dataclass(frozen=True, slots=True)
class Pinged:
    """The host is still there."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The host reports an error inside the stream. `kind` is its own word."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing comes after this."""


Event: TypeAlias = (
    Started
    | TextDelta
    | RefusalDelta
    | ThinkingDelta
    | ThinkingEnded
    | RedactedThinkingSeen
    | ToolStarted
    | ToolDelta
    | UsageSeen
    | Finished
    | Pinged
    | Failed
    | Ended
)
