"""How a call thinks and samples at one of Anthropic's models: which of the caller's wishes exclude each other. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay_edge.protocols.budgets import ANSWER_TOKENS, BUDGETS
from relay_edge.protocols.canonical import (
    Effort,
    Reasoning,
    RedactedThinking,
    Request,
    Role,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from relay_edge.protocols.fitness import max_tokens_of
from relay_edge.protocols.model_traits import Sampling, ThinkingMode, Traits
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.signatures import is_anthropics

LEAST_BUDGET_TOKENS = 1_024


@dataclass(slots=True)
class Sampled:
    """The fields as Anthropic gets them; None: not sent."""

    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] = field(default_factory=dict)

    @property
    def is_thinking(self) -> bool:
        """Whether the call asks for thinking."""
        return self.thinking is not None and self.thinking["type"] != "disabled"


def sampled(
    request: Request, turns: list[Turn], choice: Mapping[str, Any] | None, traits: Traits, notes: Notes
) -> Sampled:
    """The settings. Takes blocks of thinking out of `turns` that Anthropic would refuse."""
    max_tokens = max_tokens_of(request, traits, notes) or traits.default_max_tokens
    settings = Sampled(max_tokens, request.temperature, request.top_p, request.top_k)
    _drop_unsigned(turns, notes)
    if request.reasoning is not None:
        _think(settings, request.reasoning, traits, notes)
    if settings.is_thinking and choice is not None and choice["type"] in ("any", "tool"):
        settings.thinking = None
        notes.dropped("reasoning.forced_tool")  # dropped: thinking: Anthropic takes no forced tool with it
    if settings.is_thinking and traits.thinking is ThinkingMode.MANUAL and _continues_unsigned(turns):
        settings.thinking = None
        notes.dropped("reasoning.unsigned_history")  # dropped: thinking: the tool calls before lack their signature
    _sample(settings, traits, notes)
    return settings


def _think(settings: Sampled, wish: Reasoning, traits: Traits, notes: Notes) -> None:
    effort = None if wish.effort is Effort.NONE else wish.effort
    match traits.thinking:
        case ThinkingMode.NONE:
            if wish.is_on or effort is not None:
                notes.dropped("reasoning")  # dropped: reasoning: this model does not think
        case ThinkingMode.ADAPTIVE:
            # No thinking is the default of an absent field; some models refuse `disabled`.
            if wish.is_on:
                settings.thinking = {"type": "adaptive"}
            if effort is not None:
                effort = Effort.LOW if traits.efforts is None and effort is Effort.MINIMAL else effort
                nearest = traits.nearest_effort(effort)
                if nearest is not effort:
                    notes.add("approximated", "reasoning_effort")
                settings.output_config["effort"] = nearest.value
        case ThinkingMode.MANUAL:
            if wish.is_on:
                _budget(settings, wish.budget_tokens or BUDGETS[effort or Effort.MEDIUM], traits, notes)


def _budget(settings: Sampled, budget: int, traits: Traits, notes: Notes) -> None:
    budget = max(budget, LEAST_BUDGET_TOKENS)
    if budget >= settings.max_tokens:  # the budget is part of max_tokens
        raised = budget + ANSWER_TOKENS
        if traits.max_output_tokens is not None and raised > traits.max_output_tokens:
            raised = traits.max_output_tokens
            budget = min(budget, raised - ANSWER_TOKENS)
        settings.max_tokens = raised
        notes.add("rewritten", "max_tokens")
    settings.thinking = {"type": "enabled", "budget_tokens": budget}


def _drop_unsigned(turns: list[Turn], notes: Notes) -> None:
    """Reasoning of another model, or without its signature, must never be put into Claude's mouth."""
    for place, turn in enumerate(turns):
        kept = tuple(b for b in turn.blocks if not isinstance(b, Thinking) or is_anthropics(b.signature))
        if len(kept) < len(turn.blocks):
            turns[place] = Turn(turn.role, kept, turn.place)
            notes.dropped("messages.reasoning", turn.place)  # dropped: unsigned thinking: Anthropic refuses it
    turns[:] = [turn for turn in turns if turn.blocks]


def _continues_unsigned(turns: Sequence[Turn]) -> bool:
    """Whether the last turn answers tool calls that were made without thinking: a manual budget refuses that."""
    if len(turns) < 2 or not any(isinstance(block, ToolResult) for block in turns[-1].blocks):
        return False
    caller = turns[-2]
    has_calls = any(isinstance(block, ToolUse) for block in caller.blocks)
    return caller.role is Role.ASSISTANT and has_calls and not isinstance(caller.blocks[0], Thinking | RedactedThinking)


def _sample(settings: Sampled, traits: Traits, notes: Notes) -> None:
    if traits.sampling is Sampling.NOTHING:
        for name in ("temperature", "top_p", "top_k"):
            if getattr(settings, name) is not None:
                setattr(settings, name, None)
                notes.dropped(name)  # dropped: this model refuses sampling parameters
        return
    if settings.temperature is not None and settings.temperature > 1:
        settings.temperature = 1.0
        notes.add("clamped", "temperature")
    if settings.is_thinking:
        if settings.temperature not in (None, 1.0):
            notes.dropped("temperature")  # dropped: temperature: a thinking model takes its default only
        settings.temperature = None
        if settings.top_k is not None:
            notes.dropped("top_k")  # dropped: top_k: not with thinking
            settings.top_k = None
        if settings.top_p is not None and settings.top_p < 0.95:
            notes.dropped("top_p")  # dropped: top_p: with thinking it takes 0.95 to 1 only
            settings.top_p = None
    if traits.sampling is Sampling.ONE and settings.temperature is not None and settings.top_p is not None:
        settings.top_p = None
        notes.dropped("top_p")  # dropped: top_p: this model takes it or temperature, not both
