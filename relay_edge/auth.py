"""Who calls: from a relay key or an access token in the headers to project, policy and limits. No I/O; 1 us for a key
seen before, 3 us for a token (`token_callers.py`).

The order of refusals is the product's promise: no key, unknown key, revoked, expired, payer deactivated, project
archived, scope missing, address not allowed. A refused key is never remembered, so guessing fills no memory.
"""

from collections.abc import Mapping

from aiohttp import web

from relay_contract.access_tokens import MAX_TOKEN_BYTES
from relay_contract.errors import (
    AddressNotAllowed,
    Forbidden,
    InvalidKey,
    KeyExpired,
    KeyRevoked,
    OriginNotAllowed,
    PayerInactive,
    ProjectArchived,
    ScopeMissing,
    Unauthenticated,
)
from relay_contract.networks import Networks
from relay_contract.nouns import KEY_GRACE_SECONDS, Application, RelayKey, Scope
from relay_contract.tokens import RELAY_PREFIX, hash_token
from relay_edge.caller import Caller, charges_of
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.client_ip import FORWARDED_FOR, ClientIps
from relay_edge.cors import ORIGIN, Origins, lines_for
from relay_edge.further_lines import carry
from relay_edge.key_notice import notice_of
from relay_edge.purses import key_purses
from relay_edge.token_callers import TokenCallers

_BEARER = "bearer "
_TWO_KEYS = "Authorization and x-api-key hold two different relay keys. Send one of them."
_NOT_FROM_HERE = "This relay key may not be used from your address. Its owner can add it."
_NEVER = float("inf")
_DOTS = 2
"""Between the three parts of an access token. A relay key has none."""


def bearer_token(headers: Mapping[str, str]) -> str:
    """The relay key or access token as sent: `Authorization: Bearer`, `x-api-key`, else `x-goog-api-key`. Raises
    Unauthenticated, also for two relay keys that differ. A vendor's own key beside ours says nothing: SDKs send what
    their environment holds.
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
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidKey
    return token


class Authenticator:
    """Remembers relay keys for as long as the snapshot stays the same object."""

    __slots__ = ("_callers", "_client_ips", "_metadata_url", "_origins", "_snapshot", "_tokens")

    def __init__(
        self, client_ips: ClientIps | None = None, tokens: TokenCallers | None = None, metadata_url: str = ""
    ) -> None:
        """`client_ips`: None trusts no proxy. `tokens`: None takes no access tokens. `metadata_url`: where callers
        without a right one are told who issues them (RFC 9728 section 5.1); "" tells them nothing."""
        self._client_ips = ClientIps() if client_ips is None else client_ips
        self._tokens = tokens
        self._metadata_url = metadata_url
        self._origins = Origins()
        self._snapshot: Snapshot | None = None
        self._callers: dict[bytes, Caller] = {}

    def caller_of(self, snapshot: Snapshot, request: web.BaseRequest, scope: Scope, now: float) -> Caller:
        """As `authenticate`, for a request that may come from where it does; its answer will say what is to be said of
        the key, and may be read by the page that asked. Raises AddressNotAllowed and OriginNotAllowed too."""
        try:
            caller = self.authenticate(snapshot, request.headers, scope, now)
        except (Unauthenticated, Forbidden) as error:
            self._refuse(snapshot, request, error)
            raise
        if caller.application is not None:
            _check_origin(request, caller.application)
        if caller.networks is not None:
            address = self._client_ips.of(request.remote, request.headers.getall(FORWARDED_FOR, ()))
            if address not in caller.networks:
                raise AddressNotAllowed(_NOT_FROM_HERE)
        if caller.noticed_from <= now:
            carry(request, caller.notice)
        return caller

    def authenticate(self, snapshot: Snapshot, headers: Mapping[str, str], scope: Scope, now: float) -> Caller:
        """The caller of a request; `now` in Unix seconds. Raises an Unauthenticated or a Forbidden, see above."""
        if snapshot is not self._snapshot:
            self._follow(snapshot, now)
        token = bearer_token(headers)
        if "." in token and token.count(".") == _DOTS and self._tokens is not None:
            return self._tokens.recognise(snapshot, token.encode("utf-8", "surrogatepass"), scope, now)
        return self.recognise(snapshot, hash_token(token), scope, now)

    def recognise(self, snapshot: Snapshot, token_hash: bytes, scope: Scope, now: float) -> Caller:
        """As `authenticate`, for the hash of a relay key."""
        if snapshot is not self._snapshot:
            self._follow(snapshot, now)
        caller = self._callers.get(token_hash)
        if caller is None:
            caller = self._callers[token_hash] = _look_up(snapshot, token_hash)
        key = caller.relay_key
        if key is not None and key.revoked_at is not None:
            raise KeyRevoked
        if caller.ends_at <= now:
            raise KeyExpired
        if key is not None and not key.payer_is_active:
            raise PayerInactive
        if caller.project.is_archived:
            raise ProjectArchived
        if scope not in caller.scopes:
            raise ScopeMissing(
                f"This relay key lacks the scope `{scope.value}`. Use another key, or ask for the scope."
            )
        return caller

    def _follow(self, snapshot: Snapshot, now: float) -> None:
        self._snapshot, self._callers = snapshot, {}
        if self._tokens is not None:
            self._tokens.follow(snapshot, now)

    def _refuse(self, snapshot: Snapshot, request: web.BaseRequest, error: Unauthenticated | Forbidden) -> None:
        """Says where access tokens are to be had, and lets the page that asked read why it was refused: whose token it
        was may be unknown, so any origin that is declared counts, as in its preflight."""
        if self._metadata_url and isinstance(error, Unauthenticated):
            separator = ", " if "=" in error.challenge else " "
            error.challenge += f'{separator}resource_metadata="{self._metadata_url}"'
        origin = request.headers.get(ORIGIN)
        if origin is not None and origin in self._origins.declared(snapshot):
            carry(request, lines_for(origin))


def _check_origin(request: web.BaseRequest, application: Application) -> None:
    """Whether a page may call with this application's tokens; a call of no page has no origin. Raises
    OriginNotAllowed."""
    origin = request.headers.get(ORIGIN)
    if origin is None:
        return
    if origin not in application.allowed_origins:
        raise OriginNotAllowed
    carry(request, lines_for(origin))


def _look_up(snapshot: Snapshot, token_hash: bytes) -> Caller:
    key = snapshot.relay_key(token_hash)
    project = None if key is None else snapshot.project(key.project_id)
    if key is None or project is None:  # a key without its project is about to be deleted with it
        raise InvalidKey
    policy = None if key.policy_id is None else snapshot.policy(key.policy_id)
    charges = charges_of(snapshot, ("key", key.id, key.rate_limit_id), policy, key.user_id, project)
    user_budget = None if key.user_id is None else snapshot.user_budget(project, key.user_id)
    noticed_from, ends_at = _last_days(key)
    return Caller(
        project=project,
        policy=policy,
        charges=charges,
        purses=key_purses(project, key, user_budget),
        mode=key.mode,
        scopes=key.scopes,
        relay_key=key,
        application=None,
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
