"""Which async targets a call is for: conditions, ordering keys, disabled targets. Pure.

Read once for each snapshot (`prepared.py`). An endpoint without any of them costs a call nothing. What cannot be read
takes no calls: to send to a target what it does not want is no better than to lose what it does.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from relay_contract.errors import EndpointMisconfigured
from relay_contract.intake import DeliveryState
from relay_contract.nouns import DeliveryMode, Target, TargetRole
from relay_contract.shaping.checking import ShapingError
from relay_contract.shaping.conditions import Conditions, compile_conditions
from relay_contract.shaping.facts import Facts
from relay_contract.shaping.paths import PathError, Reference, parse_reference

MAX_KEY_LENGTH = 255
_PENDING = DeliveryState.PENDING.value
_HELD = DeliveryState.HELD.value


class Wanted(NamedTuple):
    """A target that the call is for."""

    target: Target
    state: str  # DeliveryState
    ordering_key: str | None = None


class Choice(NamedTuple):
    """The async targets that a call is for, shadows among them, and how many it is not for."""

    wanted: tuple[Wanted, ...]
    filtered_count: int = 0


@dataclass(frozen=True, slots=True)
class _Rule:
    target: Target
    state: str
    conditions: Conditions | None
    ordering_key: Reference | None


@dataclass(frozen=True, slots=True)
class FanOutRules:
    """Of one endpoint. `plain`: what every call gets, where no rule looks at calls."""

    plain: Choice | None
    rules: tuple[_Rule, ...]
    fault: str = ""  # why no call can be fanned out

    def choose(self, facts: Facts) -> Choice:
        """The targets of this call. Raises EndpointMisconfigured."""
        if self.fault:
            raise EndpointMisconfigured(self.fault)
        passing = [rule for rule in self.rules if rule.conditions is None or rule.conditions(facts)]
        wanted = tuple(Wanted(rule.target, rule.state, _key(rule.ordering_key, facts)) for rule in passing)
        return Choice(wanted, len(self.rules) - len(passing))


def read_rules(targets: Sequence[Target]) -> FanOutRules:
    """The rules of an endpoint's targets. Calls for a disabled one are held until it is enabled again; a disabled
    shadow gets none, since a copy that comes later is of no use. What answers callers is not for here."""
    try:
        rules = tuple(
            _rule(target)
            for target in targets
            if target.delivery_mode is DeliveryMode.ASYNC and (target.is_enabled or target.role is TargetRole.LIVE)
        )
    except (ShapingError, PathError) as mistake:
        return FanOutRules(None, (), f"A target of this endpoint has rules that cannot be read: {mistake}.")
    if any(rule.conditions is not None or rule.ordering_key is not None for rule in rules):
        return FanOutRules(None, rules)
    return FanOutRules(Choice(tuple(Wanted(rule.target, rule.state) for rule in rules)), rules)


def _rule(target: Target) -> _Rule:
    conditions = None if target.conditions is None else compile_conditions(target.conditions.value)
    ordering_key = parse_reference(target.ordering_key) if target.ordering_key else None
    return _Rule(target, _PENDING if target.is_enabled else _HELD, conditions, ordering_key)


def _key(reference: Reference | None, facts: Facts) -> str | None:
    """The key's text; None: the call is in no order. A key that no column holds stands there by its digest."""
    if reference is None:
        return None
    value = reference.read(facts, None)
    if isinstance(value, bool | int | float):
        value = msgspec.json.encode(value).decode()
    if not isinstance(value, str) or not value:
        return None
    if len(value) <= MAX_KEY_LENGTH and "\0" not in value:
        return value
    return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
