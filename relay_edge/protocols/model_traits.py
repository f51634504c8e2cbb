"""What a model on a host takes: what the catalog says, and where it is silent what the upstream's name tells. Pure.

A name that says nothing gets what the vendor's oldest models take; the host then answers 400 where that is wrong, and
the caller sees it.

Sources, read 2026-11:
- platform.claude.com/docs/en: about-claude/models/migration-guide (4.6: adaptive thinking, no prefill; 4.7: no sampling
  parameters, no manual budget), .../whats-new-claude-4-8 (system messages inside the conversation), .../overview
  (output limits), build-with-claude/structured-outputs (4.5 and later);
- platform.openai.com/docs/guides/reasoning (parameters and efforts of reasoning models);
- ai.google.dev/gemini-api/docs: thinking (budgets at 2.5, levels at 3), structured-output (beside tools from 3 on),
  and github.com/vercel/ai/issues/8943 (penalties at 2.0 only);
- api-docs.deepseek.com/guides/thinking_mode, platform.moonshot.ai/docs (reasoning goes back with a tool's result).
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from relay_contract.nouns import Capabilities
from relay_edge.protocols.canonical import Effort

_CLAUDE = re.compile(
    r"claude[-.](?:(?P<line>[a-z]+)[-.])?(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2}))?(?!\d)(?:[-.](?P<late>opus|sonnet|haiku))?"
)
_REASONING = re.compile(r"(?:^|/)(?:o[1-9]\d?(?:-|$)|gpt-(?P<major>[5-9]|\d{2})(?:\.(?P<minor>\d+))?(?![0-9]))")
_GEMINI = re.compile(r"gemini-(?:(?P<major>\d{1,2})(?:\.(?P<minor>\d{1,2}))?(?!\d)|.*latest)")
_KEEPS_REASONING = re.compile(
    r"(?:^|/)(?:deepseek-(?:reasoner|v3\.[2-9]|v[4-9])|kimi-(?:k2-thinking|k2\.[5-9]|k[3-9]))"
)
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]*[A-Z][\w.-]*")

DEFAULT_MAX_TOKENS = 8192
"""For a model of which nothing is known."""

EFFORTS = tuple(Effort)
"""From the least to the most."""


class ThinkingMode(Enum):
    """How thinking is turned on."""

    NONE = "none"
    MANUAL = "manual"  # a budget in tokens
    ADAPTIVE = "adaptive"  # an effort; a budget is refused or deprecated


class Sampling(Enum):
    """Which of temperature, top_p and top_k a model takes."""

    ANY = "any"
    ONE = "one"  # temperature or top_p, not both
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Traits:
    """The first group speaks of all shapes, the others of one each."""

    takes_tools: bool
    takes_images: bool
    takes_documents: bool
    takes_audio: bool
    takes_prefill: bool
    refuses_output_schema: bool  # the catalog says so; False also where nothing is known
    sampling: Sampling
    thinking: ThinkingMode
    efforts: tuple[Effort, ...] | None  # None: not known, the effort is sent as it is
    max_output_tokens: int | None  # None: not known, nothing is clamped

    # Anthropic's messages
    takes_output_schema: bool
    takes_strict_tools: bool
    takes_late_system: bool
    default_max_tokens: int

    # OpenAI's chat completions
    is_reasoning: bool  # max_completion_tokens, developer, reasoning_effort; no sampling, no stop
    takes_effort: bool
    takes_top_k: bool
    keeps_reasoning: bool  # the reasoning before a tool call goes back with the result

    # Gemini
    gemini: tuple[int, int]  # version; (0, 0) for a name that does not tell
    budget_range: tuple[int, int]  # tokens of thinking, where it is on
    can_stop_thinking: bool

    def nearest_effort(self, wanted: Effort) -> Effort:
        """The effort that the model knows; of two that are equally near the higher one, as vendors do it."""
        if self.efforts is None or wanted in self.efforts:
            return wanted
        place = EFFORTS.index(wanted)
        return min(self.efforts, key=lambda effort: (abs(EFFORTS.index(effort) - place), -EFFORTS.index(effort)))


@lru_cache(maxsize=4096)
def traits_of(upstream_name: str, capabilities: Capabilities) -> Traits:
    """What is known of a model."""
    name = upstream_name.lower()
    version = _claude_version(name)
    gemini = _gemini_version(name)
    is_reasoning = _is_reasoning(name, capabilities)
    limit = capabilities.max_output_tokens or _output_limit(name, version)
    takes_schema = _known(capabilities.structured_output, version is not None and version >= (4, 5))
    return Traits(
        takes_tools=capabilities.tools is not False,
        takes_images=capabilities.images is not False,
        takes_documents=capabilities.documents is not False,
        takes_audio=capabilities.audio is not False,
        takes_prefill=_known(capabilities.prefill, version is None or version < (4, 6)),
        refuses_output_schema=capabilities.structured_output is False,
        sampling=_sampling(version, capabilities),
        thinking=_thinking(version, gemini, name, capabilities),
        efforts=_efforts(name, gemini, capabilities),
        max_output_tokens=limit,
        takes_output_schema=takes_schema,
        takes_strict_tools=takes_schema,
        takes_late_system=version is not None and version >= (4, 8),
        default_max_tokens=limit or (64_000 if version else DEFAULT_MAX_TOKENS),
        is_reasoning=is_reasoning,
        takes_effort=is_reasoning or capabilities.reasoning is True,
        takes_top_k=_REPOSITORY.fullmatch(upstream_name) is not None,
        keeps_reasoning=_KEEPS_REASONING.search(name) is not None,
        gemini=gemini,
        budget_range=_budget_range(name),
        can_stop_thinking=gemini == (2, 5) and "pro" not in name,
    )


def _known(said: bool | None, told_by_name: bool) -> bool:
    return told_by_name if said is None else said


def _claude_version(name: str) -> tuple[int, int] | None:
    found = _CLAUDE.search(name)
    return None if found is None else (int(found["major"]), int(found["minor"] or 0))


def _gemini_version(name: str) -> tuple[int, int]:
    found = _GEMINI.search(name)
    if found is None:
        return 0, 0
    return (3, 0) if found["major"] is None else (int(found["major"]), int(found["minor"] or 0))


def _is_reasoning(name: str, capabilities: Capabilities) -> bool:
    """A deployment under a name of its own is one where the catalog says what makes it one: it thinks, and takes no
    sampling. Open models that think do take it, and know neither `developer` nor `max_completion_tokens`."""
    if capabilities.reasoning is None:
        return _REASONING.search(name) is not None and "chat" not in name
    if _REASONING.search(name) is not None:
        return capabilities.reasoning
    return capabilities.reasoning and capabilities.sampling_limits == Sampling.NOTHING.value


def _thinking(
    version: tuple[int, int] | None, gemini: tuple[int, int], name: str, capabilities: Capabilities
) -> ThinkingMode:
    if capabilities.thinking_modes is not None:
        known = (ThinkingMode.ADAPTIVE, ThinkingMode.MANUAL)
        return next((mode for mode in known if mode.value in capabilities.thinking_modes), ThinkingMode.NONE)
    if capabilities.reasoning is False:
        return ThinkingMode.NONE
    if gemini != (0, 0):
        if gemini < (2, 5) or "image" in name:
            return ThinkingMode.NONE
        return ThinkingMode.MANUAL if gemini < (3, 0) else ThinkingMode.ADAPTIVE
    if version is None:
        return ThinkingMode.MANUAL
    if version < (3, 7):
        return ThinkingMode.NONE
    return ThinkingMode.MANUAL if version < (4, 6) else ThinkingMode.ADAPTIVE


def _efforts(name: str, gemini: tuple[int, int], capabilities: Capabilities) -> tuple[Effort, ...] | None:
    """A model's efforts, from the least to the most."""
    if capabilities.effort_levels:
        return tuple(effort for effort in EFFORTS if effort.value in capabilities.effort_levels)
    if gemini >= (3, 0):
        if "flash" in name:
            return Effort.MINIMAL, Effort.LOW, Effort.MEDIUM, Effort.HIGH
        return (Effort.LOW, Effort.HIGH) if gemini == (3, 0) else (Effort.LOW, Effort.MEDIUM, Effort.HIGH)
    found = _REASONING.search(name)
    if found is None:
        return None
    if found["major"] is None:
        return Effort.LOW, Effort.MEDIUM, Effort.HIGH
    if (int(found["major"]), int(found["minor"] or 0)) == (5, 0):
        return Effort.MINIMAL, Effort.LOW, Effort.MEDIUM, Effort.HIGH
    return Effort.NONE, Effort.LOW, Effort.MEDIUM, Effort.HIGH, Effort.XHIGH


def _sampling(version: tuple[int, int] | None, capabilities: Capabilities) -> Sampling:
    if capabilities.sampling_limits is not None:
        return next((known for known in Sampling if known.value == capabilities.sampling_limits), Sampling.ANY)
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


def _budget_range(name: str) -> tuple[int, int]:
    """Of Gemini 2.5."""
    if "pro" in name:
        return 128, 32_768
    return (512, 24_576) if "lite" in name else (1, 24_576)
