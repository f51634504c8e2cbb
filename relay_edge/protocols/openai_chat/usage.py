"""What a chat completion says was used (platform.openai.com/docs/api-reference/chat/object, read 2026-11)."""

from typing import Any

from relay_edge.protocols.canonical import Usage
from relay_edge.protocols.fields import count_in


def read_usage(usage: Any) -> Usage:
    """OpenAI's `prompt_tokens` includes what was cached; ours are apart. Figures that make no sense are not said."""
    if not isinstance(usage, dict):
        return Usage()
    prompt = count_in(usage, "prompt_tokens")
    details, made = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    read = count_in(details, "cached_tokens")
    if read is None:
        read = count_in(usage, "prompt_cache_hit_tokens")  # DeepSeek's name for it
    written_5m, written_1h = _cache_writes(usage, details)
    cached = (read or 0) + (written_5m or 0) + (written_1h or 0)
    return Usage(
        input_uncached=None if prompt is None else max(0, prompt - cached),
        cache_read=read,
        cache_write_5m=written_5m,
        cache_write_1h=written_1h,
        output=count_in(usage, "completion_tokens"),
        reasoning=count_in(made, "reasoning_tokens"),
        audio_input=count_in(details, "audio_tokens"),
        audio_output=count_in(made, "audio_tokens"),
        image_input=count_in(details, "image_tokens"),  # gateways' name, where a host counts them apart
        image_output=count_in(made, "image_tokens"),
    )


def _cache_writes(usage: dict[str, Any], details: Any) -> tuple[int | None, int | None]:
    """For five minutes and for an hour. Three names for one thing (OpenRouter's, LiteLLM's two), all part of the
    prompt; LiteLLM also passes on how Anthropic took them apart."""
    apart = details.get("cache_creation_token_details") if isinstance(details, dict) else None
    five, hour = count_in(apart, "ephemeral_5m_input_tokens"), count_in(apart, "ephemeral_1h_input_tokens")
    for values, name in (
        (details, "cache_write_tokens"),
        (details, "cache_creation_tokens"),
        (usage, "cache_creation_input_tokens"),
    ):
        if (written := count_in(values, name)) is not None:
            hour = None if hour is None else min(hour, written)
            return written - (hour or 0), hour
    return five, hour
