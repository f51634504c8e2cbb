"""What a call used, in meters that never overlap.

Vendors count differently: OpenAI's prompt tokens include what a cache served, Anthropic's input tokens do not. Whoever
reads a vendor's usage (`relay_edge/protocols/`) takes it apart into these, so that a price is a plain sum.
"""

from dataclasses import dataclass, fields
from enum import StrEnum


class UsageSource(StrEnum):
    """How a call's usage is known."""

    PROVIDER = "provider"  # the host said so
    PARTIAL = "partial"  # the answer was cut: input as far as the host had told, output counted from what was delivered
    ESTIMATED = "estimated"  # the host said nothing: about four characters a token
    NONE = "none"  # nothing was used: no host answered


@dataclass(slots=True)
class Usage:
    """Counts of one answer. `reasoning_tokens` says how many of `output_tokens` were thinking and is never added."""

    input_tokens: int = 0  # neither read from a cache nor written to one; text
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0  # not part of input_tokens
    input_image_tokens: int = 0  # not part of input_tokens; only where the host counts them apart
    output_tokens: int = 0  # text, tool calls and thinking
    output_audio_tokens: int = 0  # not part of output_tokens
    output_image_tokens: int = 0  # not part of output_tokens
    reasoning_tokens: int = 0
    server_tool_calls: int = 0  # e.g. web searches that the host made
    input_audio_seconds: int = 0  # of sound that the host counts by its length and not in tokens; rounded up

    @property
    def prompt_tokens(self) -> int:
        """Everything that was read: what OpenAI calls prompt tokens, and what price tiers look at."""
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
            + self.input_audio_tokens
            + self.input_image_tokens
        )

    @property
    def limited_tokens(self) -> int:
        """What the meter `tokens` of a rate limit counts: everything but cache reads, which cost a vendor little."""
        return self.prompt_tokens - self.cache_read_tokens + self.all_output_tokens

    @property
    def all_output_tokens(self) -> int:
        """Everything that was written."""
        return self.output_tokens + self.output_audio_tokens + self.output_image_tokens


METERS: tuple[str, ...] = tuple(field.name for field in fields(Usage))
