"""In which order bindings of equal priority are tried, and what this process remembers of them for that.

| selection | first |
|---|---|
| priority | the one of the caller's own shape, then the lowest id |
| weight | drawn by chance in proportion to its weight; 0 only when nothing else is left |
| least_busy | the one with the fewest calls in flight in this process |
| latency | the one that was not measured yet, then the quickest to a first token |
| cost | the cheapest for a call of `TYPICAL_CALL`; whose price nobody knows comes last |

Every order is whole: what is not first is tried later. Ties go by id. No I/O; a figure costs some 100 ns.
"""

import math
import time
from collections.abc import Callable, Sequence

from relay_contract.nouns import HostBinding, HostBindingId, Pricing, Selection
from relay_contract.pricing import cost_nanousd
from relay_contract.usage import Usage

Chance = Callable[[], float]
"""A number from 0 up to, but not including, 1; `random.random` or one with a seed."""

STEADY = frozenset({Selection.PRIORITY, Selection.COST})
"""Selections whose order stays the same for as long as the catalog does."""

TYPICAL_CALL = Usage(input_tokens=3_000, output_tokens=1_000)
"""What a price is compared for: three tokens read for each one written, which is about what chats come to."""

UNKNOWN = math.inf

RECENT = 0.7
"""How much of a moving average stays when the next call is measured at once."""

HALF_LIFE_SECONDS = 30.0
"""After so long half of what was measured is forgotten: a binding that was slow is tried again, and soon believed."""

FAILED_SECONDS = 30.0
"""What a failed call counts as: the caller got no token in any time."""

AFFINITY_FACTOR = 2.0
AFFINITY_CALLS = 4.0
AFFINITY_SECONDS = 0.25
"""A conversation stays where it is while that is at most twice as busy or slow as the best, and so much more."""


class _Figures:
    """What is known of one binding."""

    __slots__ = ("in_flight", "measured_at", "seconds", "tried_at")

    def __init__(self) -> None:
        self.in_flight = 0
        self.seconds: float | None = None
        self.measured_at = self.tried_at = 0.0


class Load:
    """What this process knows of its bindings: calls in flight, and the time to a first token. Outlives snapshots."""

    __slots__ = ("_clock", "_figures")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds, never backwards."""
        self._clock = clock
        self._figures: dict[HostBindingId, _Figures] = {}

    def started(self, binding_id: HostBindingId) -> None:
        """A call goes to this binding. `ended` must follow, whatever becomes of it."""
        figures = self._figures.get(binding_id)
        if figures is None:
            figures = self._figures[binding_id] = _Figures()
        figures.in_flight += 1
        figures.tried_at = self._clock()

    def ended(self, binding_id: HostBindingId, first_token_seconds: float | None, failed: bool) -> None:
        """It is over. None: nothing was measured, since nobody answered or the caller left before."""
        figures = self._figures.get(binding_id)
        if figures is None:
            return  # its binding was deleted meanwhile
        figures.in_flight = max(0, figures.in_flight - 1)
        measured = FAILED_SECONDS if failed else first_token_seconds
        if measured is None:
            return
        now = self._clock()
        kept = 0.0
        if figures.seconds is not None:
            kept = RECENT * _faded(now - figures.measured_at)
            measured += kept * (figures.seconds - measured)
        figures.seconds, figures.measured_at = measured, now

    def in_flight(self, binding_id: HostBindingId) -> int:
        """Calls of this process that the binding is serving."""
        figures = self._figures.get(binding_id)
        return 0 if figures is None else figures.in_flight

    def seconds(self, binding_id: HostBindingId) -> float | None:
        """Moving average of the time to a first token; None: not measured yet."""
        figures = self._figures.get(binding_id)
        return None if figures is None else figures.seconds

    def expected_seconds(self, binding_id: HostBindingId) -> float:
        """The same, fading while nobody tries: 0.0 asks for a try. Infinite while the first try is on its way."""
        figures = self._figures.get(binding_id)
        if figures is None:
            return 0.0
        if figures.seconds is None:
            return UNKNOWN if figures.in_flight else 0.0
        return figures.seconds * _faded(self._clock() - figures.tried_at)

    def keep(self, exists: Callable[[HostBindingId], bool]) -> None:
        """Forgets bindings that are no more."""
        self._figures = {id_: figures for id_, figures in self._figures.items() if exists(id_)}

    def __len__(self) -> int:
        return len(self._figures)


def _faded(seconds: float) -> float:
    return math.exp2(-seconds / HALF_LIFE_SECONDS)


def typical_cost(pricing: Pricing | None) -> float:
    """Nano-USD for `TYPICAL_CALL`; infinite when nobody knows."""
    return UNKNOWN if pricing is None or not pricing.rates else cost_nanousd(pricing.rates, TYPICAL_CALL)


def order(selection: Selection, bindings: Sequence[HostBinding], load: Load, chance: Chance) -> list[int]:
    """Places in `bindings`, first to last, for a selection that is not `STEADY`; others keep the order given."""
    match selection:
        case Selection.WEIGHT:
            figures = [_draw(binding.weight, chance) for binding in bindings]
        case Selection.LEAST_BUSY:
            figures = [float(load.in_flight(binding.id)) for binding in bindings]
        case Selection.LATENCY:
            return _by_latency(bindings, load)
        case _:
            return list(range(len(bindings)))
    return sorted(range(len(bindings)), key=figures.__getitem__)


def _draw(weight: int, chance: Chance) -> float:
    """The lowest of these draws is each one's with its share, and so on without it: Efraimidis and Spirakis, 2006."""
    return -math.log(1.0 - chance()) / weight if weight > 0 else UNKNOWN


def _by_latency(bindings: Sequence[HostBinding], load: Load) -> list[int]:
    figures = [(load.expected_seconds(binding.id), load.in_flight(binding.id)) for binding in bindings]
    return sorted(range(len(bindings)), key=figures.__getitem__)


def may_stay(selection: Selection, bindings: Sequence[HostBinding], place: int, load: Load) -> bool:
    """Whether a conversation may stay on the binding at this place, although the selection might choose another."""
    if selection is Selection.LEAST_BUSY:
        least = min(load.in_flight(binding.id) for binding in bindings)
        return load.in_flight(bindings[place].id) <= AFFINITY_FACTOR * least + AFFINITY_CALLS
    if selection is Selection.LATENCY:
        seconds = load.seconds(bindings[place].id)
        if seconds is None:
            return True
        known = (load.seconds(binding.id) for binding in bindings)
        least_seconds = min(each for each in known if each is not None)
        return seconds <= AFFINITY_FACTOR * least_seconds + AFFINITY_SECONDS
    return True
