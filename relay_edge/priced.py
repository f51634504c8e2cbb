"""What a call is priced by, and where none is made since nobody knows a price. Pure.

| who | a binding without a price |
|---|---|
| a policy that says `deny` | is passed over |
| a policy that says `allow` | takes calls, whose cost is then unknown |
| a policy that says `estimate` | is priced by what the policy names |
| a caller under a limit of cost | is passed over, since the limit would count nothing there |
| a host key under a limit of cost | is not called with that key |

It is asked while a route is made, once for a snapshot, and never for a call.
"""

from dataclasses import dataclass

from relay_contract.nouns import HostBinding, HostKey, Meter, Policy, Pricing, Unpriced
from relay_edge.catalog.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class PriceRule:
    """How bindings without a price are taken."""

    snapshot: Snapshot
    is_price_needed: bool
    estimate: Pricing | None  # what stands in for a price

    def pricing(self, binding: HostBinding) -> Pricing | None:
        """What calls to it are priced by; None: nobody knows what they cost."""
        own = None if binding.pricing_id is None else self.snapshot.pricing(binding.pricing_id)
        return self.estimate if own is None else own

    def usable(self, keys: tuple[HostKey, ...], pricing: Pricing | None) -> tuple[HostKey, ...]:
        """Those of a host's keys that may make a call which is priced so."""
        if pricing is not None:
            return keys
        return () if self.is_price_needed else tuple(key for key in keys if not self._is_under_a_limit_of_cost(key))

    def _is_under_a_limit_of_cost(self, key: HostKey) -> bool:
        limit = None if key.rate_limit_id is None else self.snapshot.rate_limit(key.rate_limit_id)
        return limit is not None and any(rule.meter is Meter.COST for rule in limit.rules)


def price_rule(snapshot: Snapshot, policy: Policy, *, counts_cost: bool = False) -> PriceRule:
    """`counts_cost`: whether the caller is under a limit of cost. An estimate whose price cannot be read is none, and
    then no call is made without a price."""
    estimate = None
    if policy.unpriced is Unpriced.ESTIMATE and policy.estimate_pricing_id is not None:
        estimate = snapshot.pricing(policy.estimate_pricing_id)
    may_be_unknown = policy.unpriced is Unpriced.ALLOW and not counts_cost
    return PriceRule(snapshot, not may_be_unknown and estimate is None, estimate)
