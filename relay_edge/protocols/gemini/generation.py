"""How a call thinks and samples at a Gemini model: `generationConfig` (ai.google.dev/api/generate-content and
/gemini-api/docs/thinking, read 2026-11). Pure."""

from typing import Any

from relay_edge.protocols.budgets import ANSWER_TOKENS, BUDGETS, effort_of_budget
from relay_edge.protocols.canonical import Effort, Reasoning, Request
from relay_edge.protocols.fitness import max_tokens_of, sampling_of
from relay_edge.protocols.model_traits import Sampling, ThinkingMode, Traits
from relay_edge.protocols.notes import Notes

MAX_STOPS = 5

_SENT = {
    "temperature": "temperature",
    "top_p": "topP",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}


def generation_config(request: Request, traits: Traits, notes: Notes) -> dict[str, Any]:
    """What is set; the form of the answer aside."""
    config: dict[str, Any] = {}
    if (max_tokens := max_tokens_of(request, traits, notes)) is not None:
        config["maxOutputTokens"] = max_tokens
    for name, value in sampling_of(request, traits, notes).items():
        config[_SENT[name]] = value
    if request.top_k is not None:
        if traits.sampling is Sampling.NOTHING:
            notes.dropped("top_k")  # dropped: top_k: this model refuses sampling parameters
        else:
            config["topK"] = request.top_k
    if request.seed is not None:
        config["seed"] = _seed(request.seed, notes)
    for name in ("frequency_penalty", "presence_penalty"):
        if (penalty := getattr(request, name)) is not None:
            if traits.gemini == (2, 0):
                config[_SENT[name]] = penalty
            else:
                notes.dropped(name)  # dropped: penalties: models other than 2.0 answer 400
    if request.stop:
        if len(request.stop) > MAX_STOPS:
            notes.add("clamped", "stop")
        config["stopSequences"] = list(request.stop[:MAX_STOPS])
    if request.reasoning is not None:
        _think(config, request.reasoning, traits, notes)
    return config


def _seed(seed: int, notes: Notes) -> int:
    """Gemini's are 32 bits wide."""
    if -(2**31) <= seed < 2**31:
        return seed
    notes.add("rewritten", "seed")
    return seed % 2**31


def _think(config: dict[str, Any], wish: Reasoning, traits: Traits, notes: Notes) -> None:
    is_wanted = wish.is_on is not False and wish.effort is not Effort.NONE
    thinking: dict[str, Any] = {}
    match traits.thinking:
        case ThinkingMode.NONE:
            if is_wanted:
                notes.dropped("reasoning")  # dropped: reasoning: this model does not think
            return
        case ThinkingMode.MANUAL:
            if not is_wanted:
                if traits.can_stop_thinking:
                    config["thinkingConfig"] = {"thinkingBudget": 0}
                else:
                    notes.dropped("thinking")  # dropped: disabled thinking: this model cannot be told not to
                return
            if wish.budget_tokens is not None or wish.effort is not None:
                thinking["thinkingBudget"] = _budget(config, wish, traits, notes)
        case ThinkingMode.ADAPTIVE:
            if (effort := _effort(wish, traits, notes)) is not None:
                thinking["thinkingLevel"] = effort.value
    if is_wanted and wish.is_shown is not False:
        thinking["includeThoughts"] = True
    if thinking:
        config["thinkingConfig"] = thinking


def _budget(config: dict[str, Any], wish: Reasoning, traits: Traits, notes: Notes) -> int:
    least, most = traits.budget_range
    wanted = wish.budget_tokens or BUDGETS[wish.effort or Effort.MEDIUM]
    budget = min(max(wanted, least), most)
    if budget >= config.get("maxOutputTokens", budget + 1):  # the budget is part of it
        config["maxOutputTokens"] = budget + ANSWER_TOKENS
        notes.add("rewritten", "max_tokens")
    return budget


def _effort(wish: Reasoning, traits: Traits, notes: Notes) -> Effort | None:
    effort = wish.effort
    if wish.is_on is False:
        effort = Effort.NONE
    elif effort is None and wish.budget_tokens is not None:
        effort = effort_of_budget(wish.budget_tokens)
        notes.add("approximated", "thinking.budget_tokens")
    if effort is None:
        return None
    nearest = traits.nearest_effort(effort)
    if nearest is not effort:
        notes.add("approximated", "reasoning_effort")
    return nearest
