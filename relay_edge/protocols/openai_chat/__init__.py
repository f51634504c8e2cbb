"""OpenAI's Chat Completions: its surface, and its JSON read into and written from canonical values."""

from relay_edge.protocols.openai_chat.surface import SURFACE

__all__ = ["SURFACE"]
