"""What a GenerateContentResponse says was used (ai.google.dev/api/generate-content#UsageMetadata, read 2026-11)."""

from typing import Any

from relay_edge.protocols.canonical import Usage
from relay_edge.protocols.fields import count_in


def read_usage(usage: Any) -> Usage:
    """Gemini's prompt tokens include what was cached, its candidates' tokens exclude the thoughts. Figures that make no
    sense are not said."""
    prompt, read = count_in(usage, "promptTokenCount"), count_in(usage, "cachedContentTokenCount")
    tools = count_in(usage, "toolUsePromptTokenCount")
    said, thought = count_in(usage, "candidatesTokenCount"), count_in(usage, "thoughtsTokenCount")
    details = usage if isinstance(usage, dict) else {}
    asked, cached, made = (details.get(f"{name}TokensDetails") for name in ("prompt", "cache", "candidates"))
    return Usage(
        input_uncached=None if prompt is None else max(0, prompt - (read or 0)) + (tools or 0),
        cache_read=read,
        output=None if said is None and thought is None else (said or 0) + (thought or 0),
        reasoning=thought,
        audio_input=_of_kind(asked, cached, "AUDIO"),
        audio_output=_of_kind(made, None, "AUDIO"),
        image_input=_of_kind(asked, cached, "IMAGE"),
        image_output=_of_kind(made, None, "IMAGE"),
    )


def _of_kind(details: Any, cached: Any, kind: str) -> int | None:
    """Tokens of one modality, less those that a cache served; None where the modality is not named."""
    counts = _counts(details, kind)
    return max(0, sum(counts) - sum(_counts(cached, kind))) if counts else None


def _counts(details: Any, kind: str) -> list[int]:
    given = details if isinstance(details, list) else ()
    of_kind = (each for each in given if isinstance(each, dict) and each.get("modality") == kind)
    return [count for each in of_kind if (count := count_in(each, "tokenCount")) is not None]
