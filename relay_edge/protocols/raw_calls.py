"""Raw calls to hosts: in whose shape the relay answers them itself, and how their answers' usage is read."""

from collections.abc import Callable
from functools import partial
from typing import Any

from relay_contract.nouns import WireShape
from relay_contract.usage import Usage
from relay_edge.protocols import anthropic_messages, openai_chat
from relay_edge.protocols.anthropic_messages.usage import read_usage as read_anthropic_usage
from relay_edge.protocols.event_watch import StreamWatch
from relay_edge.protocols.openai_other import AnswerWatch, read_usage
from relay_edge.protocols.operation import Operation

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

OPENAI_RAW, ANTHROPIC_RAW = (
    Operation("passthrough", "/passthrough/", surface, methods=METHODS, is_written=False)
    for surface in (openai_chat.SURFACE, anthropic_messages.SURFACE)
)


def _anthropic_usage(usage: Any, _meta: Any) -> Usage | None:
    return read_anthropic_usage(usage).meters()


def watch_of(shape: WireShape) -> Callable[[bool], StreamWatch]:
    """For answers of a host that speaks this shape otherwise."""
    return partial(AnswerWatch, _anthropic_usage if shape is WireShape.ANTHROPIC_MESSAGES else read_usage)
