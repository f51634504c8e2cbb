"""OpenAI's Responses: its surface, and its JSON read into and written from canonical values."""

from relay_edge.protocols.openai_responses.surface import SURFACE

__all__ = ["SURFACE"]
