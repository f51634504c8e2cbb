"""What a call counts against, prepared once per caller or host key: rules, their Redis keys, and their part of the
scripts' commands. Pure.

Whatever is "packed" here is written as Redis reads it (RESP), so that a call costs a concatenation and no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from relay_contract.nouns import Algorithm, Meter, RateLimit, Rule
from relay_contract.redis import keys

NANOUSD_PER_MICROUSD = 1000

_METERS = {Meter.REQUESTS: b"r", Meter.TOKENS: b"t", Meter.COST: b"m", Meter.CONCURRENCY: b"c"}
_UNITS = {Meter.REQUESTS: "calls", Meter.TOKENS: "tokens", Meter.COST: "USD", Meter.CONCURRENCY: "calls in flight"}
_OWNERS = {
    "key": "relay key",
    "application": "application",
    "policy": "policy",
    "user": "user",
    "project": "project",
    "endpoint": "endpoint",
    "test_pool": "project's test keys",
    "host_key": "host key",
}


@dataclass(frozen=True, slots=True)
class Charge:
    """A rate limit as it counts for one owner. `scope`: one of `_OWNERS`."""

    scope: str
    owner_id: int
    rate_limit: RateLimit


@dataclass(frozen=True, slots=True, eq=False)
class ChargedRule:
    """One rule of a charge, and where it is counted. Amounts are as Redis counts them: cost in nano-USD."""

    charge: Charge
    rule: Rule
    key: str
    meter: Meter
    amount: int
    burst: int
    window_ms: int
    is_gcra: bool

    def refusal_text(self, needed: int) -> str:
        """What the refused caller reads. `needed`: how much the call would have counted at most."""
        rule = self.rule
        amount = f"{rule.amount / 1_000_000:.6g}" if self.meter is Meter.COST else str(rule.amount)
        over = "" if self.meter is Meter.CONCURRENCY else f" in {rule.window_seconds} s"
        named = f"{self.charge.rate_limit.slug} of this {_OWNERS[self.charge.scope]}"
        allowed = f"{amount} {_UNITS[self.meter]}{over}"
        if needed > self.amount > 0:
            return (
                f"This call alone may take more than the rate limit {named} allows: {allowed}. "
                "Send a shorter prompt, or ask for fewer tokens."
            )
        return f"The rate limit {named} is reached: {allowed}. Try again after the time in Retry-After."


@dataclass(frozen=True, slots=True)
class Lease:
    """A rule that holds a place in flight until the call is settled."""

    key: str
    packed_key: bytes
    milliseconds: int


@dataclass(frozen=True, slots=True, eq=False)
class RuleSet:
    """Rules that are counted together under one reservation id, as the scripts take them."""

    rules: tuple[ChargedRule, ...]
    packed_keys: bytes
    packed_rules: bytes  # four arguments each
    leases: tuple[Lease, ...]
    settled_count: int  # rules that a settlement speaks about: leases, tokens, cost
    settled_keys: bytes
    settled_rules: bytes  # three arguments each
    shown: tuple[tuple[Meter, int], ...]  # meter and amount of each rule of which `admit.lua` tells what is left
    lease_ms: int  # the shortest lease; 0 where there is none
    counts_cost: bool
    counts_use: bool  # tokens or cost: what a call may use has to be known before it is made


@dataclass(frozen=True, slots=True, eq=False)
class ChargeSet:
    """Every rule of a caller, and what makes them."""

    charges: tuple[Charge, ...]
    set: RuleSet
    _merged: dict[tuple[Charge, ...], "ChargeSet"] = field(default_factory=dict)

    @property
    def rules(self) -> tuple[ChargedRule, ...]:
        """In the order in which a refusal counts them."""
        return self.set.rules

    def plus(self, extra: tuple[Charge, ...]) -> "ChargeSet":
        """This set with further charges; made once for each combination."""
        if not extra:
            return self
        merged = self._merged.get(extra)
        if merged is None:
            merged = charge_set(self.charges + extra)
            if self.charges:  # the empty set is shared by every snapshot and must remember nothing
                self._merged[extra] = merged
        return merged


def packed(arguments: Sequence[bytes]) -> bytes:
    """Arguments in the RESP of a command, without its head."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments])


def command(*arguments: bytes) -> bytes:
    """A whole Redis command in RESP."""
    return b"*%d\r\n%b" % (len(arguments), packed(arguments))


def packed_number(number: int) -> bytes:
    """A number as an argument."""
    return _NUMBERS[number] if number < len(_NUMBERS) else packed([b"%d" % number])


def charged(charge: Charge) -> tuple[ChargedRule, ...]:
    """The rules of one charge. A rule's place in its limit is part of its Redis key."""
    return tuple(_charged(charge, rule, place) for place, rule in enumerate(charge.rate_limit.rules))


def _charged(charge: Charge, rule: Rule, place: int) -> ChargedRule:
    is_lease = rule.meter is Meter.CONCURRENCY
    is_gcra = rule.algorithm is Algorithm.GCRA and not is_lease
    name = keys.leases if is_lease else keys.owed if is_gcra else keys.window
    unit = NANOUSD_PER_MICROUSD if rule.meter is Meter.COST else 1
    return ChargedRule(
        charge=charge,
        rule=rule,
        key=name(charge.scope, charge.owner_id, charge.rate_limit.id, place),
        meter=rule.meter,
        amount=rule.amount * unit,
        burst=rule.burst * unit,
        window_ms=rule.window_seconds * 1000,
        is_gcra=is_gcra,
    )


def rule_set(rules: tuple[ChargedRule, ...]) -> RuleSet:
    """Prepares rules. They count in the order given, which is also the order in which a refusal names them."""
    settled = [rule for rule in rules if rule.meter is not Meter.REQUESTS]
    leases = tuple(
        Lease(rule.key, packed([rule.key.encode()]), rule.window_ms)
        for rule in rules
        if rule.meter is Meter.CONCURRENCY
    )
    return RuleSet(
        rules=rules,
        packed_keys=packed([rule.key.encode() for rule in rules]),
        packed_rules=packed([part for rule in rules for part in (*_arguments(rule), b"%d" % rule.burst)]),
        leases=leases,
        settled_count=len(settled),
        settled_keys=packed([rule.key.encode() for rule in settled]),
        settled_rules=packed([part for rule in settled for part in _arguments(rule)]),
        shown=tuple((rule.meter, rule.amount) for rule in rules if rule.meter is not Meter.CONCURRENCY),
        lease_ms=min((lease.milliseconds for lease in leases), default=0),
        counts_cost=any(rule.meter is Meter.COST for rule in rules),
        counts_use=any(rule.meter in (Meter.COST, Meter.TOKENS) for rule in rules),
    )


def _arguments(rule: ChargedRule) -> tuple[bytes, bytes, bytes]:
    letter = _METERS[rule.meter]
    return letter.upper() if rule.is_gcra else letter, b"%d" % rule.amount, b"%d" % rule.window_ms


def charge_set(charges: tuple[Charge, ...]) -> ChargeSet:
    """Prepares charges, in the order given."""
    rules = tuple(rule for charge in charges for rule in charged(charge))
    return ChargeSet(charges, rule_set(rules)) if rules else NO_CHARGES


_NUMBERS = [packed([b"%d" % number]) for number in range(256)]

NO_RULES = rule_set(())
NO_CHARGES = ChargeSet((), NO_RULES)
"""A call that no limit counts and that has no offers costs no Redis call."""
