"""Candidates as admission takes them: which breakers guard them, and what their host keys are allowed. Pure but for the
opening of each host key, once per snapshot.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from relay_contract.logs import log_fields
from relay_contract.nouns import Host, HostBindingId, HostKey, HostKeyId, PricingId
from relay_contract.redis import breakers
from relay_contract.sealing import SealingError
from relay_contract.traffic import BreakerKind
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.charges import NO_RULES, Charge, RuleSet, charge_set, packed
from relay_edge.routing import Candidate

logger = logging.getLogger(__name__)

MAX_OFFERS = 8
"""Candidates that one admission looks at. What lies behind them is reached by `pick`."""

OFFER_ARGUMENTS = 4
"""Of one in admit.lua, beside its rules: its breakers, and how many rules."""

MAX_KNOWN = 50_000
NO_BINDING = 0
"""No row has this id; nothing is ever told of its breaker but calls that went well."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A breaker in front of a candidate."""

    kind: BreakerKind
    field: str  # of the hash `keys.BREAKERS`
    host: str  # slug
    row_id: int  # of the host key or the binding
    binding_id: int | None = None  # where it guards the host key for this binding's model alone


@dataclass(frozen=True, slots=True, eq=False)
class KeyOffer:
    """A host key, prepared: what admission and breakers look at."""

    guards: tuple[Guard, Guard, Guard]  # of the key, the binding, the key for its model: the order of admit.lua
    limits: RuleSet  # what the vendor allows the host key
    packed: bytes  # admit.lua's arguments for it


@dataclass(frozen=True, slots=True, eq=False)
class Offer(KeyOffer):
    """A candidate, prepared."""

    candidate: Candidate


class Offers:
    """Prepared candidates; made anew for each snapshot, so that a replaced key or limit is never counted on."""

    __slots__ = ("_keys", "_known", "_raw", "_snapshot", "_unseal")

    def __init__(self, snapshot: Snapshot, unseal: Callable[[HostKey], str]) -> None:
        """`unseal` may raise SealingError."""
        self._snapshot = snapshot
        self._unseal = unseal
        self._known: dict[tuple[HostBindingId, HostKeyId, PricingId | None], Offer | None] = {}
        self._raw: dict[HostKeyId, KeyOffer | None] = {}
        self._keys: dict[HostKeyId, tuple[Guard, RuleSet] | None] = {}

    def of(self, candidate: Candidate) -> Offer | None:
        """None for a candidate whose key cannot be opened, which was logged."""
        place = (candidate.binding.id, candidate.key.id, candidate.estimate_id)
        if place in self._known:
            return self._known[place]
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
            self._keys.clear()
        offer = self._known[place] = self._prepare(candidate)
        return offer

    def of_key(self, host: Host, key: HostKey) -> KeyOffer | None:
        """For calls without a model: guarded by the host key's breaker alone. None as in `of`."""
        if key.id not in self._raw:
            prepared = self._prepared_key(key, host.slug)
            self._raw[key.id] = None if prepared is None else KeyOffer(*_parts(*prepared, host.slug, NO_BINDING, ""))
        return self._raw[key.id]

    def _prepare(self, candidate: Candidate) -> Offer | None:
        host = candidate.host.slug
        prepared = self._prepared_key(candidate.key, host)
        if prepared is None:
            return None
        binding = candidate.binding
        return Offer(*_parts(*prepared, host, binding.id, binding.upstream_name), candidate)

    def _prepared_key(self, key: HostKey, host: str) -> tuple[Guard, RuleSet] | None:
        if key.id not in self._keys:
            self._keys[key.id] = self._prepare_key(key, host)
        return self._keys[key.id]

    def _prepare_key(self, key: HostKey, host: str) -> tuple[Guard, RuleSet] | None:
        try:
            value = self._unseal(key)
        except SealingError:
            logger.error(  # noqa: TRY400  # the trace says no more
                "host_key_sealed", extra=log_fields(host=host, host_key_id=key.id, problem="it cannot be opened")
            )
            return None
        limit = None if key.rate_limit_id is None else self._snapshot.rate_limit(key.rate_limit_id)
        limits = NO_RULES if limit is None else charge_set((Charge("host_key", key.id, limit),)).set
        return Guard(BreakerKind.HOST_KEY, breakers.host_key_field(value), host, key.id), limits


def _parts(
    key: Guard, limits: RuleSet, host: str, binding_id: int, upstream_name: str
) -> tuple[tuple[Guard, Guard, Guard], RuleSet, bytes]:
    binding = Guard(BreakerKind.BINDING, breakers.binding_field(binding_id), host, binding_id)
    field = breakers.key_at_model_field(key.field, upstream_name)
    guards = key, binding, Guard(BreakerKind.HOST_KEY, field, host, key.row_id, binding_id or None)
    opening = packed([*(guard.field.encode() for guard in guards), b"%d" % len(limits.rules)])
    return guards, limits, opening + limits.packed_rules
