"""What a message says was used (platform.claude.com/docs/en/api/messages, read 2026-11)."""

from typing import Any

from relay_edge.protocols.canonical import Usage
from relay_edge.protocols.fields import count_in


def read_usage(usage: Any, so_far: Usage | None = None) -> Usage:
    """Anthropic's `input_tokens` excludes what was cached, as ours does. Figures that make no sense are not said.

    A stream says its totals twice; the second time, after `so_far`, cache writes come as one sum of both kinds.
    """
    if not isinstance(usage, dict):
        return Usage()
    written = usage.get("cache_creation")
    five, hour = count_in(written, "ephemeral_5m_input_tokens"), count_in(written, "ephemeral_1h_input_tokens")
    if five is None and hour is None:
        total = count_in(usage, "cache_creation_input_tokens")
        hour_before = so_far.cache_write_1h if so_far is not None else None
        five = None if total is None else max(0, total - (hour_before or 0))
    return Usage(
        input_uncached=count_in(usage, "input_tokens"),
        cache_read=count_in(usage, "cache_read_input_tokens"),
        cache_write_5m=five,
        cache_write_1h=hour,
        output=count_in(usage, "output_tokens"),
        reasoning=count_in(usage.get("output_tokens_details"), "thinking_tokens"),
        server_tool_requests=count_in(usage.get("server_tool_use"), "web_search_requests"),  # fetches cost nothing
    )
