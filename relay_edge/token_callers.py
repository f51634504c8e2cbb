"""Users of applications, by their access tokens. No I/O.

A token is read once (33 us, most of it RSA) and remembered by its SHA-256 while the signing keys stay the same; what it
stands for is looked up again when a row that decides it changes (5 us), and not when anything else in the catalog does.
A call with a known token costs 2 us. Only tokens that were rightly signed are remembered, until shortly after they
end, and not more than MOST_TOKENS of them: a forged one costs 25 us, before anything of a body is read, and leaves
nothing.

The order of refusals: not ours or changed, expired, revoked (the token, what the user allowed, the user, the
application; an application that is disabled or gone), project archived, scope missing.
"""

import logging
from dataclasses import dataclass
from hashlib import sha256

from relay_contract.access_tokens import LIFE_SECONDS, Claims, Reader
from relay_contract.errors import ProjectArchived, ScopeMissing, TokenExpired, TokenRevoked
from relay_contract.logs import log_fields
from relay_contract.nouns import (
    AccountId,
    Application,
    ApplicationId,
    Budget,
    Membership,
    Noun,
    Policy,
    Project,
    ProjectId,
    RateLimit,
    Revocation,
    RevocationKind,
    Scope,
    SigningKey,
    UserId,
)
from relay_contract.periods import Period
from relay_contract.token_keys import PublicKey, TokenKeyError, read_public
from relay_edge.caller import Caller, charges_of
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.purses import PurseSet, purse_set

logger = logging.getLogger(__name__)

MOST_TOKENS = 50_000
"""Remembered in each process, some 1.5 KB each."""

_OFFERED = (Scope.INFERENCE,)
"""Scopes that mean something here: a token may name others, which are the control plane's."""
_DECIDING: tuple[type[Noun], ...] = (Application, Revocation, Project, Policy, RateLimit, Membership)
_NEVER = float("inf")
_ARCHIVED = "The project of this application is archived. Its owner can restore it."


@dataclass(slots=True)
class _Known:
    """A token that was read, and what it stood for under `decided`."""

    claims: Claims
    caller: Caller | None = None
    decided: object = None


class TokenCallers:
    """One for each process."""

    __slots__ = (
        "_audience", "_decided", "_issuer", "_keys", "_known", "_older", "_reader", "_reader_ends", "_snapshot",
        "_turns_at",
    )  # fmt: skip

    def __init__(self, issuer: str, audience: str) -> None:
        """`issuer`: the control plane's address. `audience`: the edge's."""
        self._issuer = issuer
        self._audience = audience
        self._snapshot: Snapshot | None = None
        self._keys: object = None
        self._decided: tuple[object, ...] = ()
        self._reader = Reader({}, issuer, audience)
        self._reader_ends = _NEVER
        self._known: dict[bytes, _Known] = {}
        self._older: dict[bytes, _Known] = {}
        self._turns_at = 0.0

    def recognise(self, snapshot: Snapshot, token: bytes, scope: Scope, now: float) -> Caller:
        """The caller who shows this token; `now` in Unix seconds. Raises TokenInvalid, TokenExpired, TokenRevoked,
        ProjectArchived or ScopeMissing."""
        if snapshot is not self._snapshot or now >= self._reader_ends:
            self.follow(snapshot, now)
        known = self._known_token(token, now)
        if known.claims.expires_at <= now:
            raise TokenExpired
        caller = known.caller
        if caller is None or known.decided is not self._decided:
            caller = known.caller = _caller(snapshot, known.claims)
            known.decided = self._decided
        if caller.project.is_archived:
            raise ProjectArchived(_ARCHIVED)
        if scope not in caller.scopes:
            raise _scope_missing(scope)
        return caller

    def count(self) -> int:
        """Tokens that are remembered."""
        return len(self._known) + len(self._older)

    def follow(self, snapshot: Snapshot, now: float) -> None:
        """Forgets what a change of the catalog, or the end of a signing key, made untrue. Whoever else sees a snapshot
        first may say so, that no replaced one is held until the next token comes."""
        self._snapshot = snapshot
        decided = tuple(snapshot.portion(noun) for noun in _DECIDING)
        if any(new is not old for new, old in zip(decided, self._decided or (None,) * len(decided), strict=True)):
            self._decided = decided
        keys = snapshot.portion(SigningKey)
        is_changed = keys is not self._keys and keys != self._keys  # a full load brings the same rows anew
        self._keys = keys
        if is_changed or now >= self._reader_ends:
            self._known, self._older = {}, {}
            self._reader = Reader(_readable(snapshot, now), self._issuer, self._audience)
            ends = (each.retires_at.timestamp() for each in snapshot.signing_keys() if each.retires_at is not None)
            self._reader_ends = min((end for end in ends if end > now), default=_NEVER)

    def _known_token(self, token: bytes, now: float) -> _Known:
        digest = sha256(token).digest()
        known = self._known.get(digest) or self._older.get(digest)
        if known is None:
            known = _Known(self._reader.read(token, now))
            if now >= self._turns_at:  # what is older than that has ended
                self._known, self._older, self._turns_at = {}, self._known, now + LIFE_SECONDS
            if self.count() >= MOST_TOKENS:
                self._known, self._older = {}, {}
            self._known[digest] = known
        return known


def _readable(snapshot: Snapshot, now: float) -> dict[str, PublicKey]:
    """The keys by kid that sign tokens which may be alive."""
    found: dict[str, PublicKey] = {}
    for key in snapshot.signing_keys():
        if key.retires_at is not None and key.retires_at.timestamp() <= now:
            continue
        try:
            found[key.kid] = read_public(key.public_der)
        except TokenKeyError as error:
            logger.error("signing_key_unreadable", extra=log_fields(signing_key_id=key.id, reason=str(error)))  # noqa: TRY400
    return found


def _caller(snapshot: Snapshot, claims: Claims) -> Caller:
    """What these claims stand for. Raises TokenRevoked."""
    application = snapshot.application(ApplicationId(claims.application_id))
    project = snapshot.project(ProjectId(claims.project_id))
    if application is None or project is None or not _is_of(claims, application) or _is_revoked(snapshot, claims):
        raise TokenRevoked
    policy = None if application.policy_id is None else snapshot.policy(application.policy_id)
    user_id = UserId(claims.subject)
    first = ("application", application.id, application.rate_limit_id)
    return Caller(
        project=project,
        policy=policy,
        charges=charges_of(snapshot, first, policy, user_id, project),
        purses=_purses(snapshot, project, claims),
        mode=claims.mode,
        scopes=tuple(scope for scope in _OFFERED if scope.value in claims.scopes),
        relay_key=None,
        application=application,
        user_id=user_id,
        captures_payloads=application.captures_payloads or (policy is not None and policy.captures_payloads),
        networks=None,
        notice=(),
        noticed_from=_NEVER,
        ends_at=claims.expires_at,
    )


def _purses(snapshot: Snapshot, project: Project, claims: Claims) -> PurseSet:
    """A user pays, from the project's pool or an own wallet, within what the user allowed the application and what the
    project lets this user spend."""
    cap = None if claims.cap_microcredits is None else Budget(claims.cap_microcredits, Period.MONTH)
    return purse_set(
        project,
        claims.mode,
        wallet=AccountId(claims.wallet_id),
        user_id=claims.subject,
        user_budget=snapshot.user_budget(project, UserId(claims.subject)),
        budgets=(("grant", claims.authorization_id, cap),),
    )


def _is_of(claims: Claims, application: Application) -> bool:
    """Whether the application is enabled and still the one that the token was written for."""
    said = (claims.client_id, claims.project_id, claims.mode)
    return application.is_enabled and said == (application.client_id, application.project_id, application.mode)


def _is_revoked(snapshot: Snapshot, claims: Claims) -> bool:
    named = (
        (RevocationKind.JTI, claims.jti),
        (RevocationKind.GRANT, str(claims.authorization_id)),
        (RevocationKind.USER, str(claims.subject)),
        (RevocationKind.APPLICATION, str(claims.application_id)),
    )
    return any(
        claims.issued_at < each.issued_before.timestamp()
        for kind, value in named
        for each in snapshot.revocations(kind, value)
    )


def _scope_missing(scope: Scope) -> ScopeMissing:
    error = ScopeMissing(f"This access token lacks the scope `{scope.value}`. {_SCOPE_ADVICE[scope in _OFFERED]}")
    error.challenge = f'Bearer error="insufficient_scope", scope="{scope.value}"'  # RFC 6750 section 3.1
    return error


_SCOPE_ADVICE = ("Call this address with a relay key.", "Let the user authorise the application for it.")
