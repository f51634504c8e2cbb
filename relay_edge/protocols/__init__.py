"""What each wire shape looks like: the only place that knows a vendor's paths, headers and JSON."""

from relay_contract.nouns import WireShape
from relay_edge.protocols import anthropic_messages, gemini, openai_chat, openai_other, openai_responses
from relay_edge.protocols.operation import Operation
from relay_edge.protocols.surface import HostSurface, Surface

SURFACES: dict[WireShape, Surface] = {
    WireShape.OPENAI_CHAT: openai_chat.SURFACE,
    WireShape.OPENAI_RESPONSES: openai_responses.SURFACE,
    WireShape.ANTHROPIC_MESSAGES: anthropic_messages.SURFACE,
}
"""The shapes that callers speak."""

HOST_SURFACES: dict[WireShape, HostSurface] = {**SURFACES, WireShape.GEMINI: gemini.SURFACE}
"""The shapes that hosts speak."""

CONVERSATIONS = tuple(Operation(each.name, each.path, each) for each in SURFACES.values())
"""Every host takes them, translated where need be."""

COUNT_TOKENS = Operation(
    "count_tokens",
    "/v1/messages/count_tokens",
    anthropic_messages.SURFACE,
    upstream_path="/messages/count_tokens",
    hosts=frozenset({WireShape.ANTHROPIC_MESSAGES}),
    is_written=False,
)
OTHERS = openai_other.OPERATIONS
"""What is no conversation: its bytes pass, to hosts that do it."""

__all__ = [
    "CONVERSATIONS", "COUNT_TOKENS", "HOST_SURFACES", "OTHERS", "SURFACES", "HostSurface", "Operation", "Surface",
]  # fmt: skip
