"""Anthropic's Messages (docs.anthropic.com/en/api/messages, read 2026-11)."""

from collections.abc import Mapping

from relay_contract.nouns import WireShape
from relay_edge.error_shapes import ErrorShape
from relay_edge.protocols.anthropic_messages.watch import MessagesWatch
from relay_edge.protocols.sse import named_event
from relay_edge.protocols.surface import Surface, sound_header

VERSION_HEADER = "anthropic-version"
BETA_HEADER = "anthropic-beta"
DEFAULT_VERSION = "2023-06-01"

PING = named_event("ping", b'{"type":"ping"}')

_DEFAULT_VERSION_LINE = sound_header(VERSION_HEADER, DEFAULT_VERSION)


def credential_lines(value: str) -> bytes:
    """A host key as the vendor wants it."""
    return sound_header("x-api-key", value)


def caller_lines(headers: Mapping[str, str]) -> bytes:
    """The version that the caller was written for. For the betas it asks for see `betas.py`."""
    version = headers.get(VERSION_HEADER)
    return _DEFAULT_VERSION_LINE if version is None else sound_header(VERSION_HEADER, version)


def error_event(body: bytes) -> bytes:
    """An error in the middle of a stream (docs.anthropic.com/en/api/messages-streaming, "Error events")."""
    return named_event("error", body)


SURFACE = Surface(
    shape=WireShape.ANTHROPIC_MESSAGES,
    name="messages",
    error_shape=ErrorShape.ANTHROPIC,
    path="/v1/messages",
    upstream_path="/messages",
    credential_lines=credential_lines,
    caller_lines=caller_lines,
    error_event=error_event,
    ping=PING,
    watch=MessagesWatch,
)
