"""What a call counts against, prepared once per caller: rules, their Redis keys, and the admission command around a gap
for the reservation's id. Pure.

Whatever is "packed" here is written as Redis reads it (RESP), so that a call costs a concatenation and no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from relay_contract.nouns import Meter, RateLimit, Rule
from relay_contract.redis import keys, scripts

_METERS = {Meter.REQUESTS: b"r", Meter.CONCURRENCY: b"c"}
_KEYS = {Meter.REQUESTS: keys.window, Meter.CONCURRENCY: keys.leases}
_OWNERS = {"key": "relay key", "policy": "policy", "project": "project", "endpoint": "endpoint"}


@dataclass(frozen=True, slots=True)
class Charge:
    """A rate limit as it counts for one owner. `scope`: key, policy, project or endpoint."""

    scope: str
    owner_id: int
    rate_limit: RateLimit


@dataclass(frozen=True, slots=True)
class ChargedRule:
    """One rule of a charge, and where it is counted."""

    charge: Charge
    rule: Rule
    key: str

    def refusal_text(self) -> str:
        """What the refused caller reads."""
        what = "calls in flight" if self.rule.meter is Meter.CONCURRENCY else f"calls in {self.rule.window_seconds} s"
        return (
            f"The rate limit {self.charge.rate_limit.slug} of this {_OWNERS[self.charge.scope]} is reached: "
            f"{self.rule.amount} {what}. Try again after the time in Retry-After."
        )


@dataclass(frozen=True, slots=True)
class Lease:
    """A rule that holds a place in flight until the call is settled."""

    key: str
    packed_key: bytes
    milliseconds: int


@dataclass(frozen=True, slots=True, eq=False)
class ChargeSet:
    """Every rule of a call. `head + packed reservation id + tail` is the EVALSHA that reserves it."""

    rules: tuple[ChargedRule, ...]
    charges: tuple[Charge, ...]
    head: bytes
    tail: bytes
    leases: tuple[Lease, ...]
    _merged: dict[tuple[Charge, ...], "ChargeSet"] = field(default_factory=dict)

    def plus(self, extra: tuple[Charge, ...]) -> "ChargeSet":
        """This set with further charges; made once for each combination."""
        if not extra:
            return self
        merged = self._merged.get(extra)
        if merged is None:
            merged = charge_set(self.charges + extra)
            if self.rules:  # the empty set is shared by every snapshot and must remember nothing
                self._merged[extra] = merged
        return merged


def packed(arguments: Sequence[bytes]) -> bytes:
    """Arguments in the RESP of a command, without its head."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments])


def command(*arguments: bytes) -> bytes:
    """A whole Redis command in RESP."""
    return b"*%d\r\n%b" % (len(arguments), packed(arguments))


def charge_set(charges: tuple[Charge, ...]) -> ChargeSet:
    """Prepares charges. Rules count in the order given, which is also the order in which a refusal names them."""
    rules = tuple(
        ChargedRule(charge, rule, _KEYS[rule.meter](charge.scope, charge.owner_id, charge.rate_limit.id, place))
        for charge in charges
        for place, rule in enumerate(charge.rate_limit.rules)
    )
    if not rules:
        return NO_CHARGES
    names = [rule.key.encode() for rule in rules]
    arguments = [
        part
        for rule in rules
        for part in (_METERS[rule.rule.meter], b"%d" % rule.rule.amount, b"%d" % (rule.rule.window_seconds * 1000))
    ]
    opening = [b"EVALSHA", scripts.ADMIT.sha1, b"%d" % len(names), *names]
    head = b"*%d\r\n%b" % (len(opening) + 1 + len(arguments), packed(opening))
    leases = tuple(
        Lease(rule.key, packed([name]), rule.rule.window_seconds * 1000)
        for rule, name in zip(rules, names, strict=True)
        if rule.rule.meter is Meter.CONCURRENCY
    )
    return ChargeSet(rules, charges, head, packed(arguments), leases)


NO_CHARGES = ChargeSet((), (), b"", b"", ())
"""A call that no limit counts costs no Redis call."""
