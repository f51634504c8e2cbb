"""OpenAI's Chat Completions (platform.openai.com/docs/api-reference/chat, read 2026-11)."""

from collections.abc import Mapping

from relay_contract.nouns import WireShape
from relay_edge.error_shapes import ErrorShape
from relay_edge.protocols.openai_chat.ask_usage import request_for
from relay_edge.protocols.openai_chat.watch import ChatWatch
from relay_edge.protocols.sse import comment, data_event
from relay_edge.protocols.surface import Surface, sound_header

PING = comment("ping")
"""A comment: the shape has no event for it, and the SDKs skip comments (html.spec.whatwg.org, server-sent events)."""


def credential_lines(value: str) -> bytes:
    """A host key as the vendor wants it."""
    return sound_header("authorization", f"Bearer {value}")


def caller_lines(_headers: Mapping[str, str]) -> bytes:
    """None: `OpenAI-Organization` and `OpenAI-Project` would choose among the host key's accounts."""
    return b""


def error_event(body: bytes) -> bytes:
    """An error in the middle of a stream: the SDKs raise on a chunk with `error` in it."""
    return data_event(body)


SURFACE = Surface(
    shape=WireShape.OPENAI_CHAT,
    name="chat_completions",
    error_shape=ErrorShape.OPENAI,
    path="/v1/chat/completions",
    upstream_path="/chat/completions",
    credential_lines=credential_lines,
    caller_lines=caller_lines,
    error_event=error_event,
    ping=PING,
    watch=ChatWatch,
    request_for=request_for,
)
