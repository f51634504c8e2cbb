"""Who calls: a relay key from the headers to its project, policy and limits. No I/O; 1 us for a key seen before.

The order of refusals is the product's promise: no key, unknown key, revoked, expired, project archived, scope missing,
address not allowed. A refused key is never remembered, so guessing fills no memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from relay_contract.errors import (
    AddressNotAllowed,
    InvalidKey,
    KeyExpired,
    KeyRevoked,
    ProjectArchived,
    ScopeMissing,
    Unauthenticated,
)
from relay_contract.networks import Networks
from relay_contract.nouns import KEY_GRACE_SECONDS, KeyMode, Policy, Project, RateLimitId, RelayKey, Scope, UserId
from relay_contract.tokens import RELAY_PREFIX, hash_token
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.charges import NO_CHARGES, Charge, ChargeSet, charge_set
from relay_edge.client_ip import FORWARDED_FOR, ClientIps
from relay_edge.key_notice import notice_of, notify
from relay_edge.purses import PurseSet, key_purses

MAX_TOKEN_LENGTH = 512

_BEARER = "bearer "
_TWO_KEYS = "Authorization and x-api-key hold two different relay keys. Send one of them."
_NOT_FROM_HERE = "This relay key may not be used from your address. Its owner can add it."
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what that stands for in one snapshot: a relay key, or a user by the token of an application."""

    project: Project
    policy: Policy | None
    charges: ChargeSet
    purses: PurseSet
    mode: KeyMode
    scopes: tuple[Scope, ...]
    relay_key: RelayKey | None  # None: a user, by a token
    user_id: UserId | None
    captures_payloads: bool
    networks: Networks | None  # from where calls may come; None: from anywhere
    notice: tuple[tuple[str, str], ...]  # header lines about the key's end, from `noticed_from` on
    noticed_from: float  # Unix seconds; infinite where there is nothing to be said
    ends_at: float  # when it is refused

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


def bearer_token(headers: Mapping[str, str]) -> str:
    """The relay key as sent: `Authorization: Bearer`, `x-api-key`, else `x-goog-api-key`. Raises Unauthenticated, also
    for two relay keys that differ. A vendor's own key beside ours says nothing: SDKs send what their environment holds.
    """
    authorization, other = headers.get("Authorization"), headers.get("X-Api-Key", "").strip(" \t")
    if authorization is not None and authorization[:7].lower() == _BEARER:
        token = authorization[7:].strip(" \t")
        if other and other != token and other.startswith(RELAY_PREFIX) and token.startswith(RELAY_PREFIX):
            raise InvalidKey(_TWO_KEYS)
    else:
        token = other or headers.get("X-Goog-Api-Key", "").strip(" \t")
    if not token:
        raise Unauthenticated
    if len(token) > MAX_TOKEN_LENGTH:
        raise InvalidKey
    return token


class Authenticator:
    """Remembers callers for as long as the snapshot stays the same object."""

    __slots__ = ("_callers", "_client_ips", "_snapshot")

    def __init__(self, client_ips: ClientIps | None = None) -> None:
        """`client_ips`: None trusts no proxy."""
        self._client_ips = ClientIps() if client_ips is None else client_ips
        self._snapshot: Snapshot | None = None
        self._callers: dict[bytes, Caller] = {}

    def caller_of(self, snapshot: Snapshot, request: web.BaseRequest, scope: Scope, now: float) -> Caller:
        """As `authenticate`, for a request that may come from where it does; its answer will say what is to be said of
        the key. Raises AddressNotAllowed too."""
        caller = self.authenticate(snapshot, request.headers, scope, now)
        if caller.networks is not None:
            address = self._client_ips.of(request.remote, request.headers.getall(FORWARDED_FOR, ()))
            if address not in caller.networks:
                raise AddressNotAllowed(_NOT_FROM_HERE)
        if caller.noticed_from <= now:
            notify(request, caller.notice)
        return caller

    def authenticate(self, snapshot: Snapshot, headers: Mapping[str, str], scope: Scope, now: float) -> Caller:
        """The caller of a request; `now` in Unix seconds. Raises an Unauthenticated or a Forbidden, see above."""
        return self.recognise(snapshot, hash_token(bearer_token(headers)), scope, now)

    def recognise(self, snapshot: Snapshot, token_hash: bytes, scope: Scope, now: float) -> Caller:
        """As `authenticate`, for the hash of a token."""
        if snapshot is not self._snapshot:
            self._snapshot, self._callers = snapshot, {}
        caller = self._callers.get(token_hash)
        if caller is None:
            caller = self._callers[token_hash] = _look_up(snapshot, token_hash)
        key = caller.relay_key
        if key is not None and key.revoked_at is not None:
            raise KeyRevoked
        if caller.ends_at <= now:
            raise KeyExpired
        if caller.project.is_archived:
            raise ProjectArchived
        if scope not in caller.scopes:
            raise ScopeMissing(
                f"This relay key lacks the scope `{scope.value}`. Use another key, or ask for the scope."
            )
        return caller


def _look_up(snapshot: Snapshot, token_hash: bytes) -> Caller:
    key = snapshot.relay_key(token_hash)
    project = None if key is None else snapshot.project(key.project_id)
    if key is None or project is None:  # a key without its project is about to be deleted with it
        raise InvalidKey
    policy = None if key.policy_id is None else snapshot.policy(key.policy_id)
    charges = _charges(snapshot, key, project, policy)
    noticed_from, ends_at = _last_days(key)
    return Caller(
        project=project,
        policy=policy,
        charges=charges,
        purses=key_purses(project, key),
        mode=key.mode,
        scopes=key.scopes,
        relay_key=key,
        user_id=key.user_id,
        captures_payloads=key.captures_payloads or (policy is not None and policy.captures_payloads),
        networks=_networks(key),
        notice=notice_of(key),
        noticed_from=noticed_from,
        ends_at=ends_at,
    )


def _last_days(key: RelayKey) -> tuple[float, float]:
    """From when on answers speak of the key's end, and when it is refused."""
    if key.expires_at is None:
        return _NEVER, _NEVER
    expires_at = key.expires_at.timestamp()
    return (0.0, expires_at) if key.has_successor else (expires_at, expires_at + KEY_GRACE_SECONDS)


def _networks(key: RelayKey) -> Networks | None:
    if not key.allowed_networks:
        return None
    try:
        return Networks(key.allowed_networks)
    except ValueError:  # written past the model: better nobody than everybody
        return Networks(())


def _charges(snapshot: Snapshot, key: RelayKey, project: Project, policy: Policy | None) -> ChargeSet:
    """Every limit that a call of this key counts against: the key's, its policy's, its user's and its project's."""
    owners: list[tuple[str, int, RateLimitId | None]] = [("key", key.id, key.rate_limit_id)]
    if policy is not None:
        owners.append(("policy", policy.id, policy.rate_limit_id))
        if key.user_id is not None:
            owners.append(("user", key.user_id, policy.user_rate_limit_id))
    owners.append(("project", project.id, project.rate_limit_id))
    found = [
        Charge(scope, owner_id, limit)
        for scope, owner_id, limit_id in owners
        if limit_id is not None and (limit := snapshot.rate_limit(limit_id)) is not None and limit.rules
    ]
    return charge_set(tuple(found)) if found else NO_CHARGES
