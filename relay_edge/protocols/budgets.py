"""Tokens of thinking and efforts, one for the other: some models take a budget, others an effort. Pure."""

from relay_edge.protocols.canonical import Effort

BUDGETS = {
    Effort.MINIMAL: 1_024,
    Effort.LOW: 2_048,
    Effort.MEDIUM: 8_192,
    Effort.HIGH: 16_384,
    Effort.XHIGH: 24_576,
    Effort.MAX: 32_768,
}
"""Tokens for an effort."""

ANSWER_TOKENS = 4_096
"""Left for the answer itself where the caller's max_tokens has no room for a budget."""

_UP_TO = ((2_048, Effort.LOW), (8_192, Effort.MEDIUM))


def effort_of_budget(budget_tokens: int) -> Effort:
    """The effort that comes nearest to a budget."""
    return next((effort for most, effort in _UP_TO if budget_tokens <= most), Effort.HIGH)
