"""What a response says was used (platform.openai.com/docs/api-reference/responses/object, read 2026-11)."""

from typing import Any

from relay_edge.protocols.canonical import Usage
from relay_edge.protocols.fields import count_in


def read_usage(usage: Any, output: Any = None) -> Usage:
    """`input_tokens` includes what was cached; ours are apart. `output`, the items of the answer, tells how often the
    host searched the web, which it charges for by itself. Figures that make no sense are not said."""
    if not isinstance(usage, dict):
        return Usage()
    prompt = count_in(usage, "input_tokens")
    details, made = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    read, written = count_in(details, "cached_tokens"), count_in(details, "cache_write_tokens")
    return Usage(
        input_uncached=None if prompt is None else max(0, prompt - (read or 0) - (written or 0)),
        cache_read=read,
        cache_write_5m=written,
        output=count_in(usage, "output_tokens"),
        reasoning=count_in(made, "reasoning_tokens"),
        audio_input=count_in(details, "audio_tokens"),
        audio_output=count_in(made, "audio_tokens"),
        server_tool_requests=_searches(output),
    )


def _searches(output: Any) -> int | None:
    if not isinstance(output, list):
        return None
    return sum(isinstance(item, dict) and item.get("type") == "web_search_call" for item in output) or None
