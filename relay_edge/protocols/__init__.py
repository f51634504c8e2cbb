"""What each wire shape looks like: the only place that knows a vendor's paths, headers and JSON."""

from relay_contract.nouns import WireShape
from relay_edge.protocols import anthropic_messages, gemini, openai_chat, openai_responses
from relay_edge.protocols.surface import HostSurface, Surface

SURFACES: dict[WireShape, Surface] = {
    WireShape.OPENAI_CHAT: openai_chat.SURFACE,
    WireShape.OPENAI_RESPONSES: openai_responses.SURFACE,
    WireShape.ANTHROPIC_MESSAGES: anthropic_messages.SURFACE,
}
"""The shapes that callers speak."""

HOST_SURFACES: dict[WireShape, HostSurface] = {**SURFACES, WireShape.GEMINI: gemini.SURFACE}
"""The shapes that hosts speak."""

__all__ = ["HOST_SURFACES", "SURFACES", "HostSurface", "Surface"]
