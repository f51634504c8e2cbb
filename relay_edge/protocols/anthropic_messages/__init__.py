"""Anthropic's Messages: its surface, and its JSON read into and written from canonical values."""

from relay_edge.protocols.anthropic_messages.betas import AllowedBetas
from relay_edge.protocols.anthropic_messages.surface import BETA_HEADER, SURFACE, VERSION_HEADER

__all__ = ["BETA_HEADER", "SURFACE", "VERSION_HEADER", "AllowedBetas"]
