"""What each class of failure does to a breaker. `report.lua` and `local_breakers.py` act by these numbers. Pure.

| class | against | opens | for |
|---|---|---|---|
| auth | host key | at once | 5 min, doubling to 1 h with each failed probe; a replaced key is another breaker |
| quota | host key | at once | the host's Retry-After up to a day, else 30 min, doubling to 4 h |
| rate_limit | host key for the model | at once | Retry-After, at most 1 h, else 1 s, doubling to 60 s; to 2 s a pause |
| overloaded | binding | by threshold | 5 s or a longer Retry-After up to 5 min, doubling to 20 s |
| server, network | binding | by threshold | 5 s, doubling to 20 s |
| timeout | binding | by threshold | 5 s, doubling to 5 min |
| context_length, content_filter, caller | nothing | | |

Threshold: within 30 s 5 failures that are half of the calls, or 3 and no call that went well.

A host that is back is to be used again within half a minute, so a binding whose probes fail quickly is probed that
often. A probe of a silent one costs its caller the wait for a first token; those become seldom.
"""

from dataclasses import dataclass

from relay_contract.traffic import FailureClass

OF_KEY, OF_BINDING, OF_KEY_AT_MODEL = range(3)
"""Places in an offer's guards."""

SLOW_START_MS = 10_000
PROBE_MS = 60_000
THRESHOLD_MS = 30_000


@dataclass(frozen=True, slots=True)
class FailureRule:
    """Times in milliseconds."""

    guard: int  # the one that it speaks against
    is_threshold: bool
    first_ms: int  # how long it stays open when the host does not say
    longest_ms: int
    longest_named_ms: int = 0  # of a host's Retry-After no more than this is believed; 0: nothing
    pause_ms: int = 0  # up to this time the breaker only pauses

    def named_ms(self, retry_after_ms: int | None) -> int:
        """The host's Retry-After as far as it counts."""
        return 0 if retry_after_ms is None else max(0, min(retry_after_ms, self.longest_named_ms))


_MINUTE, _HOUR = 60_000, 3_600_000
_PROBED_OFTEN_MS = 20_000
_BINDING = FailureRule(OF_BINDING, True, 5_000, _PROBED_OFTEN_MS)

FAILURE_RULES: dict[FailureClass, FailureRule] = {
    FailureClass.AUTH: FailureRule(OF_KEY, False, 5 * _MINUTE, _HOUR),
    FailureClass.QUOTA: FailureRule(OF_KEY, False, 30 * _MINUTE, 4 * _HOUR, 24 * _HOUR),
    FailureClass.RATE_LIMIT: FailureRule(OF_KEY_AT_MODEL, False, 1_000, _MINUTE, _HOUR, 2_000),
    FailureClass.OVERLOADED: FailureRule(OF_BINDING, True, 5_000, _PROBED_OFTEN_MS, 5 * _MINUTE),
    FailureClass.SERVER: _BINDING,
    FailureClass.TIMEOUT: FailureRule(OF_BINDING, True, 5_000, 5 * _MINUTE),
    FailureClass.NETWORK: _BINDING,
}
"""Classes that are not here count for nothing."""


def is_enough(failed: int, well: int) -> bool:
    """The threshold, over the calls of THRESHOLD_MS."""
    return (failed >= 5 and failed >= well) or (failed >= 3 and well == 0)
