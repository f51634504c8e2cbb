"""Who calls, whichever way they showed it. Pure."""

from dataclasses import dataclass

from relay_contract.networks import Networks
from relay_contract.nouns import (
    Application,
    ApplicationId,
    KeyMode,
    Policy,
    Project,
    RateLimitId,
    RelayKey,
    Scope,
    UserId,
)
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.charges import NO_CHARGES, Charge, ChargeSet, charge_set
from relay_edge.further_lines import Lines
from relay_edge.purses import PurseSet

Owner = tuple[str, int, RateLimitId | None]
"""Who is limited, as `Charge` names them, and by what."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A relay key, or a user by a token of an application, and what that stands for in one snapshot."""

    project: Project
    policy: Policy | None
    charges: ChargeSet
    purses: PurseSet
    mode: KeyMode
    scopes: tuple[Scope, ...]
    relay_key: RelayKey | None  # either this
    application: Application | None  # or this, with the user
    user_id: UserId | None
    captures_payloads: bool
    networks: Networks | None  # from where calls may come; None: from anywhere
    notice: Lines  # about the key's end, from `noticed_from` on
    noticed_from: float  # Unix seconds; infinite where there is nothing to be said
    ends_at: float  # when it is refused

    @property
    def application_id(self) -> ApplicationId | None:
        """None of a relay key."""
        return None if self.application is None else self.application.id

    @property
    def counts_cost(self) -> bool:
        """Whether what a call costs has to be known: a limit or a purse counts it."""
        return self.charges.set.counts_cost or self.purses.is_asked

    @property
    def owner(self) -> tuple[str, int]:
        """Whose call it is, as charges name their owners."""
        if self.relay_key is not None:
            return "key", self.relay_key.id
        assert self.user_id is not None
        return "user", self.user_id


def charges_of(
    snapshot: Snapshot, first: Owner, policy: Policy | None, user_id: UserId | None, project: Project
) -> ChargeSet:
    """Every limit that a call counts against: of the key or application, of its policy, its user and its project."""
    owners = [first]
    if policy is not None:
        owners.append(("policy", policy.id, policy.rate_limit_id))
        if user_id is not None:
            owners.append(("user", user_id, policy.user_rate_limit_id))
    owners.append(("project", project.id, project.rate_limit_id))
    found = [
        Charge(scope, owner_id, limit)
        for scope, owner_id, limit_id in owners
        if limit_id is not None and (limit := snapshot.rate_limit(limit_id)) is not None and limit.rules
    ]
    return charge_set(tuple(found)) if found else NO_CHARGES
