"""Which bindings of a model can be used under a policy, and what hinders the others. Pure.

The router takes the first half of the answer, the explanation both, so that the two never disagree.
"""

from dataclasses import dataclass
from enum import StrEnum

from relay_contract.grants import Reach
from relay_contract.nouns import Host, HostBinding, HostKey, Model, Pricing, WireShape
from relay_edge.priced import PriceRule


class Hindrance(StrEnum):
    """Why a binding or a key is not used."""

    BINDING_DISABLED = "binding_disabled"
    HOST_DISABLED = "host_disabled"
    HOST_MISSING = "host_missing"
    DENIED = "denied"
    NOT_GRANTED = "not_granted"
    NO_KEY = "no_key"
    KEY_DISABLED = "key_disabled"
    OTHER_SHAPE = "other_shape"
    NO_PRICE = "no_price"


@dataclass(frozen=True, slots=True)
class Stop:
    """A host that serves the model: enabled, granted, priced where it has to be, with at least one key to use."""

    binding: HostBinding
    host: Host
    keys: tuple[HostKey, ...]
    pricing: Pricing | None  # None: nobody knows what it costs


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A binding, or one key of a binding that is used otherwise."""

    binding: HostBinding
    host: Host | None  # None: it was deleted, and the binding is about to be
    hindrance: Hindrance
    key: HostKey | None = None
    pattern: str = ""  # the denial, as written


@dataclass(frozen=True, slots=True)
class Survey:
    """Every binding of a model, sorted into what is used and what is not; both by priority, then id."""

    stops: tuple[Stop, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def is_forbidden(self) -> bool:
        """Whether only the policy stands in the way."""
        kinds = {each.hindrance for each in self.left_out if each.key is None}
        return not self.stops and bool(kinds) and kinds <= {Hindrance.DENIED, Hindrance.NOT_GRANTED}

    @property
    def is_unpriced(self) -> bool:
        """Whether a price is what is missing."""
        return not self.stops and any(each.hindrance is Hindrance.NO_PRICE for each in self.left_out)

    @property
    def is_unfit(self) -> bool:
        """Whether only what is asked for stands in the way: hosts are there, and none of them does it."""
        return not self.stops and any(each.hindrance is Hindrance.OTHER_SHAPE for each in self.left_out)


def survey(prices: PriceRule, model: Model, reach: Reach, only: frozenset[WireShape] | None = None) -> Survey:
    """The model's bindings under a policy, in the snapshot of its prices. `only`: shapes of hosts that do what is asked
    for; None: all do. The cost grows with the bindings of this model only."""
    snapshot = prices.snapshot
    stops: list[Stop] = []
    left_out: list[LeftOut] = []
    for binding in snapshot.every_binding(model.id):
        host = snapshot.host(binding.host_id)
        hindered = _hindered(binding, host, reach)
        if hindered is not None:
            left_out.append(hindered)
            continue
        assert host is not None
        every_key = snapshot.every_host_key(host.id)
        keys = tuple(key for key in every_key if key.is_enabled)
        pricing = prices.pricing(binding)
        usable = prices.usable(keys, pricing)
        if not keys:
            left_out.append(LeftOut(binding, host, Hindrance.NO_KEY))
        elif only is not None and binding.wire_shape not in only:
            left_out.append(LeftOut(binding, host, Hindrance.OTHER_SHAPE))
        elif not usable:
            left_out.append(LeftOut(binding, host, Hindrance.NO_PRICE))
        else:
            stops.append(Stop(binding, host, usable, pricing))
            left_out += [LeftOut(binding, host, Hindrance.NO_PRICE, key) for key in keys if key not in usable]
        left_out += [LeftOut(binding, host, Hindrance.KEY_DISABLED, key) for key in every_key if not key.is_enabled]
    return Survey(tuple(stops), tuple(left_out))


def _hindered(binding: HostBinding, host: Host | None, reach: Reach) -> LeftOut | None:
    """What keeps a binding from use, before its host's keys are looked at. The policy speaks first."""
    if host is None:
        return LeftOut(binding, host, Hindrance.HOST_MISSING)
    denial = reach.denial(host.slug)
    if denial is not None:
        return LeftOut(binding, host, Hindrance.DENIED, pattern=denial)
    if reach.grant(host.slug) is None:
        return LeftOut(binding, host, Hindrance.NOT_GRANTED)
    if not binding.is_enabled:
        return LeftOut(binding, host, Hindrance.BINDING_DISABLED)
    if not host.is_enabled:
        return LeftOut(binding, host, Hindrance.HOST_DISABLED)
    return None
