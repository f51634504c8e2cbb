"""What an admitted call holds until it is settled. Plain values; no I/O."""

import time
from dataclasses import dataclass

from relay_contract.errors import LimitState
from relay_edge import limit_headers
from relay_edge.charges import RuleSet
from relay_edge.error_shapes import ErrorShape
from relay_edge.purses import Paying, PurseHold

MOST_TOKENS = 10**12
MOST_NANOUSD = 10**15
"""A call counts for no more: hosts' usage is not ours to trust, and Redis counts below 2^53."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a call may use at most, as far as can be told before it was made."""

    tokens: int  # as in `usage.limited_tokens`
    cost_nanousd: int
    price: int = 0  # micro-credits without mark-up, for purses


NOTHING = Need(0, 0)

LIMITS = 5
"""Where in admit.lua's reply the figures of the limits begin."""


@dataclass(slots=True, eq=False)
class Hold:
    """What is counted under one reservation id."""

    id: bytes  # packed, as in `charges.py`
    rules: RuleSet
    is_local: bool
    at_ms: int  # Redis time of the reservation
    renewed_at: float  # loop time
    probes: tuple[str, ...] = ()  # breakers that the call probes, until somebody reports how that went


@dataclass(slots=True, eq=False)
class Reservation:
    """An admitted call, to be settled exactly where it was admitted. Settling twice is settling once."""

    need: Need
    caller: Hold
    host: Hold | None  # what the chosen offer's host key holds
    chosen: int | None  # index into the offers; None: none is available, or none was given
    is_probe: bool  # the answer decides about a breaker
    retry_after_seconds: float | None  # when no offer is available: when the soonest may be
    figures: list[int]  # admit.lua's reply
    is_settled: bool = False
    held: PurseHold | None = None  # what it holds of purses; None: it asked none

    @property
    def paying(self) -> Paying | None:
        """Who was asked to pay, and can."""
        return None if self.held is None else self.held.paying

    @property
    def generation(self) -> int | None:
        """Of purses, under which what the call is charged is counted."""
        return None if self.held is None else self.held.generation

    def limits(self) -> tuple[LimitState, ...]:
        """What is left of the tightest limit of each meter; empty without limits, and while Redis is away."""
        return limit_headers.tightest(self.caller.rules.shown, self.figures[LIMITS:]) if self.figures else ()

    def limit_lines(self, shape: ErrorShape) -> bytes:
        """Header lines that tell it in a vendor's words."""
        figures = self.figures
        return limit_headers.rendered(self.caller.rules.shown, figures[LIMITS:], shape, time.time()) if figures else b""
