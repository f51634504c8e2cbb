"""Callers under a limit of cost are served where somebody knows what it costs: elsewhere a limit would count nothing.
Pure.
"""

from dataclasses import replace

from relay_contract.errors import ModelForbidden
from relay_contract.nouns import FallbackCondition
from relay_edge.routing import Leg, Plan

NO_PRICE = (
    "This relay key is under a limit of cost, and nobody knows what this model costs. An operator can give it a price."
)


def priced(plan: Plan) -> Plan:
    """The plan without candidates that have no price; fallbacks stand in as where a model has no host. Raises
    ModelForbidden where nobody is left."""
    if all(candidate.pricing is not None for leg in plan.legs for candidate in leg.candidates):
        return plan
    first, *behind = (_priced_leg(leg) for leg in plan.legs)
    behind = [leg for leg in behind if leg.candidates]
    if not first.candidates:
        if not behind or FallbackCondition.ANY_FAILURE not in behind[0].when:
            raise ModelForbidden(NO_PRICE)
        first = replace(behind.pop(0), when=frozenset())
    return replace(plan, legs=(first, *behind))


def _priced_leg(leg: Leg) -> Leg:
    return replace(leg, candidates=tuple(each for each in leg.candidates if each.pricing is not None))
