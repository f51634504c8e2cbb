"""What an answer that is no conversation says was used, in whichever of the vendors' words. Pure.

| who | where |
|---|---|
| embeddings | `usage.prompt_tokens` |
| images, audio | `usage.input_tokens`, `usage.output_tokens`, and how they are made up in `*_details` |
| rerank and embeddings of Jina, Voyage | `usage.total_tokens` |
| rerank of Cohere | `meta.billed_units`: searches, which the price of a call stands for |
| sound billed by its length | `usage.seconds` where no tokens are told, else `duration`, as in `verbose_json` |

Seconds are rounded up, as OpenAI's own are (platform.openai.com/docs/api-reference/audio/verbose-json-object, read
2026-11: `duration: 8.47`, `seconds: 9`).
"""

import math
from enum import Enum
from typing import Any

from relay_contract.usage import Usage
from relay_edge.protocols.fields import count_in


class Made(Enum):
    """What an answer holds: its tokens are of that kind where the host does not say of which."""

    NOTHING = "nothing"  # nothing that a model writes
    TEXT = "text"
    IMAGES = "images"
    AUDIO = "audio"


MAX_SECONDS = 10_000_000
"""Of sound in one call: a third of a year."""


def read_usage(usage: Any, meta: Any = None, duration: Any = None, *, made: Made = Made.TEXT) -> Usage | None:
    """`usage`, `meta` and `duration` of an answer's top level. None: nothing was said that makes sense."""
    read, written = _first(usage, "input_tokens", "prompt_tokens"), _first(usage, "output_tokens", "completion_tokens")
    if read is None and written is None:
        read = count_in(usage, "total_tokens")
    if read is None and written is None:
        return _heard(usage, duration) or _billed(meta)
    inside = _details(usage, "input_tokens_details", "input_token_details", "prompt_tokens_details")
    cached = count_in(inside, "cached_tokens") or 0
    of_cached = inside.get("cached_tokens_details")
    images = _rest(count_in(inside, "image_tokens"), count_in(of_cached, "image_tokens"))
    audio = _rest(count_in(inside, "audio_tokens"), count_in(of_cached, "audio_tokens"))
    text_out, images_out, audio_out = _made(usage, written or 0, made)
    outside = _details(usage, "output_tokens_details", "completion_tokens_details")
    return Usage(
        input_tokens=max(0, (read or 0) - cached - images - audio),
        cache_read_tokens=cached,
        input_audio_tokens=audio,
        input_image_tokens=images,
        output_tokens=text_out,
        output_audio_tokens=audio_out,
        output_image_tokens=images_out,
        reasoning_tokens=count_in(outside, "reasoning_tokens") or 0,
    )


def _made(usage: Any, written: int, made: Made) -> tuple[int, int, int]:
    """Text, images, audio."""
    details = _details(usage, "output_tokens_details", "output_token_details", "completion_tokens_details")
    images, audio = count_in(details, "image_tokens"), count_in(details, "audio_tokens")
    if images is None and audio is None and made in (Made.IMAGES, Made.AUDIO):
        rest = _rest(written, count_in(details, "text_tokens"))
        return written - rest, rest if made is Made.IMAGES else 0, rest if made is Made.AUDIO else 0
    return max(0, written - (images or 0) - (audio or 0)), images or 0, audio or 0


def _heard(usage: Any, duration: Any) -> Usage | None:
    """What a transcript is billed by where that is the length of the sound."""
    said = usage.get("seconds") if isinstance(usage, dict) else None
    for seconds in (said, duration):
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds <= MAX_SECONDS:
            return Usage(input_audio_seconds=math.ceil(seconds))
    return None


def _billed(meta: Any) -> Usage | None:
    units = meta.get("billed_units") if isinstance(meta, dict) else None
    return Usage(input_tokens=count_in(units, "input_tokens") or 0) if isinstance(units, dict) else None


def _first(values: Any, *names: str) -> int | None:
    return next((count for name in names if (count := count_in(values, name)) is not None), None)


def _details(usage: Any, *names: str) -> dict[str, Any]:
    return next((found for name in names if isinstance(found := usage.get(name), dict)), {})


def _rest(count: int | None, part: int | None) -> int:
    return max(0, (count or 0) - (part or 0))
