"""What a model on a host takes, as far as its name tells. Pure.

The catalog does not carry these yet, so they are read from the upstream's name for the model. A name that says nothing
gets what the vendor's oldest models take; the host then answers 400 where that is wrong, and the caller sees it.

Sources, read 2026-11: platform.claude.com/docs/en/about-claude/models/migration-guide (4.6: adaptive thinking, no
prefill; 4.7: no sampling parameters, no manual budget), .../build-with-claude/structured-outputs (4.5 and later),
.../models/overview (output limits); platform.openai.com/docs/guides/reasoning (parameters of reasoning models).
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

_CLAUDE = re.compile(
    r"claude[-.](?:(?P<line>[a-z]+)[-.])?(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2}))?(?!\d)(?:[-.](?P<late>opus|sonnet|haiku))?"
)
_REASONING = re.compile(r"(?:^|/)(?:o[1-9]\d?(?:-|$)|gpt-(?:[5-9]|\d{2})(?![0-9]))")

DEFAULT_MAX_TOKENS = 8192
"""For a model of which nothing is known."""


class ThinkingMode(Enum):
    """How Anthropic's `thinking` is turned on."""

    NONE = "none"
    MANUAL = "manual"  # a budget in tokens
    ADAPTIVE = "adaptive"  # an effort; a budget is refused or deprecated


class Sampling(Enum):
    """Which of temperature, top_p and top_k an Anthropic model takes."""

    ANY = "any"
    ONE = "one"  # temperature or top_p, not both
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Traits:
    """The first group speaks of Anthropic's shape, the second of OpenAI's."""

    thinking: ThinkingMode
    sampling: Sampling
    takes_prefill: bool
    takes_output_schema: bool
    takes_strict_tools: bool
    default_max_tokens: int
    max_output_tokens: int | None  # None: not known, nothing is clamped

    is_reasoning: bool  # max_completion_tokens, developer, reasoning_effort; no sampling, no stop


@lru_cache(maxsize=4096)
def traits_of(upstream_name: str) -> Traits:
    """What the upstream's name for a model tells."""
    name = upstream_name.lower()
    version = _claude_version(name)
    return Traits(
        thinking=_thinking(version),
        sampling=_sampling(version),
        takes_prefill=version is None or version < (4, 6),
        takes_output_schema=version is not None and version >= (4, 5),
        takes_strict_tools=version is not None and version >= (4, 5),
        default_max_tokens=_output_limit(name, version) or (64_000 if version else DEFAULT_MAX_TOKENS),
        max_output_tokens=_output_limit(name, version),
        is_reasoning=_REASONING.search(name) is not None and "chat" not in name,
    )


def _claude_version(name: str) -> tuple[int, int] | None:
    found = _CLAUDE.search(name)
    return None if found is None else (int(found["major"]), int(found["minor"] or 0))


def _thinking(version: tuple[int, int] | None) -> ThinkingMode:
    if version is None:
        return ThinkingMode.MANUAL
    if version < (3, 7):
        return ThinkingMode.NONE
    return ThinkingMode.MANUAL if version < (4, 6) else ThinkingMode.ADAPTIVE


def _sampling(version: tuple[int, int] | None) -> Sampling:
    if version is None or version < (4, 1):
        return Sampling.ANY
    return Sampling.ONE if version < (4, 7) else Sampling.NOTHING


def _output_limit(name: str, version: tuple[int, int] | None) -> int | None:
    if version is None or version >= (4, 6):
        return None
    if version < (3, 5):
        return 4_096
    if version < (3, 7):
        return 8_192
    return 32_000 if "opus" in name and version < (4, 5) else 64_000
