"""What breakers mean for a candidate, in words for operators. Pure."""

from collections.abc import Callable, Mapping, Sequence

from relay_contract.redis.breakers import PAUSED, Entry
from relay_contract.traffic import BreakerKind, BreakerState
from relay_edge.offers import Offer
from relay_edge.routing import Candidate

UNKNOWN = "unknown: Redis does not answer"

BreakerOf = Callable[[Candidate], str | None]
"""What stands before a candidate at this moment; None: nothing."""

_GUARDED = {BreakerKind.HOST_KEY: "host key", BreakerKind.BINDING: "binding"}


def breaker_words(offers: Sequence[Offer], not_closed: Mapping[str, Entry] | None, now: float) -> BreakerOf:
    """`not_closed` by field; None: nobody knows. `now` in Unix seconds."""
    words: dict[tuple[int, int], str] = {}
    for offer in offers:
        told = UNKNOWN
        if not_closed is not None:
            found = [not_closed[each.field] for each in offer.guards if each.field in not_closed]
            told = "; ".join(filter(None, (_words(entry, now) for entry in found)))
        words[offer.candidate.binding.id, offer.candidate.key.id] = told
    return lambda candidate: words.get((candidate.binding.id, candidate.key.id)) or None


def _words(entry: Entry, now: float) -> str:
    seconds = max(0.0, entry.until_ms / 1000 - now)
    who = _GUARDED[entry.kind] + (f" for {entry.upstream_name}" if entry.upstream_name else "")
    match entry.state:
        case BreakerState.OPEN if not seconds:
            return f"{who} open ({entry.reason}), the next call probes it"
        case BreakerState.OPEN:
            return f"{who} open ({entry.reason}) for {seconds:.0f} s"
        case BreakerState.HALF_OPEN:
            return f"{who} half open ({entry.reason}), a call probes it"
        case BreakerState.SLOW_START:
            return f"{who} in slow start, a part of the calls for {seconds:.0f} s"
        case state if state == PAUSED:
            return f"{who} paused ({entry.reason}) for {seconds:.0f} s" if seconds else ""
        case _:
            return f"{who} {entry.state} ({entry.reason})"
