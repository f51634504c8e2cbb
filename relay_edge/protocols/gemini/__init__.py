"""Google's Gemini API, towards hosts only: its surface, requests written from canonical values, answers read into
them."""

from relay_edge.protocols.gemini.surface import SURFACE

__all__ = ["SURFACE"]
