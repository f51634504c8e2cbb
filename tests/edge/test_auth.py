"""Who calls, and in which order a key is refused."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from relay_contract import nouns, tokens
from relay_contract.errors import (
    InvalidKey,
    KeyExpired,
    KeyRevoked,
    PayerInactive,
    ProjectArchived,
    RelayError,
    ScopeMissing,
    Unauthenticated,
)
from relay_contract.nouns import Scope
from relay_edge.auth import Authenticator
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.charges import NO_CHARGES
from tests.edge.nouns import MOMENT, POLICY, PROJECT, RATE_LIMIT, RELAY_KEY, TOKEN

NOW = MOMENT.timestamp()
PAST, FUTURE = MOMENT - timedelta(seconds=1), MOMENT + timedelta(seconds=1)
BEARER = {"Authorization": f"Bearer {TOKEN.token}"}


def authenticate(lines: dict[str, str], *rows: nouns.Noun, scope: Scope = Scope.INFERENCE) -> Any:
    return Authenticator().authenticate(Snapshot.build(rows), CIMultiDict(lines), scope, NOW)


@pytest.mark.parametrize(
    "lines",
    [
        BEARER,
        {"authorization": f"BEARER   {TOKEN.token} "},
        {"X-API-Key": TOKEN.token},
        {"X-Goog-Api-Key": f" {TOKEN.token} "},
        {"Authorization": "Basic abc", "x-api-key": TOKEN.token},
        {"x-api-key": TOKEN.token, "x-goog-api-key": "something else"},
        {"Authorization": f"Bearer {TOKEN.token}", "x-api-key": "something else"},
    ],
)
def test_a_key_in_any_spelling(lines: dict[str, str]) -> None:
    caller = authenticate(lines, RELAY_KEY, PROJECT, POLICY)
    assert (caller.relay_key, caller.project, caller.policy, caller.charges) == (RELAY_KEY, PROJECT, POLICY, NO_CHARGES)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ({}, Unauthenticated),
        ({"Authorization": "Bearer "}, Unauthenticated),
        ({"Authorization": "Basic abc"}, Unauthenticated),
        ({"x-api-key": "  "}, Unauthenticated),
        ({"x-goog-api-key": "  "}, Unauthenticated),
        ({"Authorization": "Bearer nonsense"}, InvalidKey),
        ({"Authorization": "Bearer \udce9"}, InvalidKey),
        ({"Authorization": "Bearer " + "x" * 10_000}, InvalidKey),
        ({"Authorization": f"Bearer {tokens.mint(nouns.KeyMode.LIVE).token}"}, InvalidKey),
    ],
)
def test_no_key_or_an_unknown_one(lines: dict[str, str], error: type[RelayError]) -> None:
    with pytest.raises(error) as raised:
        authenticate(lines, RELAY_KEY, PROJECT, POLICY)
    assert type(raised.value) is error


def test_two_relay_keys_that_differ() -> None:
    other = tokens.mint(nouns.KeyMode.LIVE).token
    with pytest.raises(InvalidKey, match="two different relay keys"):
        authenticate(BEARER | {"x-api-key": other}, RELAY_KEY, PROJECT, POLICY)
    assert authenticate(BEARER | {"x-api-key": TOKEN.token}, RELAY_KEY, PROJECT, POLICY).relay_key is RELAY_KEY


GRACE = timedelta(seconds=nouns.KEY_GRACE_SECONDS)
REVOKED, EXPIRED = {"revoked_at": PAST}, {"expires_at": PAST - GRACE}
ARCHIVED, UNSCOPED = {"is_archived": True}, {"scopes": (Scope.RELAY,)}
STOPPED = {"payer_is_active": False}


@pytest.mark.parametrize(
    ("key_changes", "project_changes", "error"),
    [
        (REVOKED | EXPIRED | UNSCOPED, ARCHIVED, KeyRevoked),
        ({"revoked_at": FUTURE}, {}, KeyRevoked),  # clocks differ; a revocation never waits
        (EXPIRED | UNSCOPED, ARCHIVED, KeyExpired),
        ({"expires_at": MOMENT - GRACE}, {}, KeyExpired),
        ({"expires_at": MOMENT, "has_successor": True}, {}, KeyExpired),  # its overlap was the grace
        (STOPPED | EXPIRED, ARCHIVED, KeyExpired),
        (STOPPED | UNSCOPED, ARCHIVED, PayerInactive),
        (UNSCOPED, ARCHIVED, ProjectArchived),
        (UNSCOPED, {}, ScopeMissing),
        ({"scopes": (Scope.CONTROL,)}, {}, ScopeMissing),
    ],
)
def test_the_order_of_refusals(
    key_changes: dict[str, Any], project_changes: dict[str, Any], error: type[RelayError]
) -> None:
    with pytest.raises(error):
        authenticate(BEARER, replace(RELAY_KEY, **key_changes), replace(PROJECT, **project_changes), POLICY)


@pytest.mark.parametrize(
    ("has_successor", "last_seconds"), [(False, nouns.KEY_GRACE_SECONDS), (True, 0)], ids=["grace", "rotated"]
)
def test_a_key_serves_to_the_end_of_its_grace_or_of_its_overlap(has_successor: bool, last_seconds: int) -> None:
    key = replace(RELAY_KEY, expires_at=FUTURE, has_successor=has_successor)
    authenticator, snapshot = Authenticator(), Snapshot.build([key, PROJECT])
    authenticator.authenticate(snapshot, BEARER, Scope.INFERENCE, NOW + last_seconds + 0.9)
    with pytest.raises(KeyExpired):
        authenticator.authenticate(snapshot, BEARER, Scope.INFERENCE, NOW + last_seconds + 1)


def test_a_revoked_key_is_refused_with_the_next_snapshot() -> None:
    authenticator, snapshot = Authenticator(), Snapshot.build([RELAY_KEY, PROJECT])
    first = authenticator.authenticate(snapshot, BEARER, Scope.INFERENCE, NOW)
    assert authenticator.authenticate(snapshot, BEARER, Scope.INFERENCE, NOW) is first
    revoked = snapshot.apply({nouns.RelayKey: {RELAY_KEY.id: replace(RELAY_KEY, revoked_at=PAST)}})
    with pytest.raises(KeyRevoked):
        authenticator.authenticate(revoked, BEARER, Scope.INFERENCE, NOW)


def test_a_call_is_charged_to_key_policy_and_project() -> None:
    owners: list[nouns.Noun] = [
        replace(owner, rate_limit_id=RATE_LIMIT.id)  # type: ignore[type-var]  # three nouns with the field
        for owner in (RELAY_KEY, POLICY, PROJECT)
    ]
    caller = authenticate(BEARER, RATE_LIMIT, *owners)
    assert [(rule.charge.scope, rule.charge.owner_id, rule.rule) for rule in caller.charges.rules] == [
        ("key", 1, RATE_LIMIT.rules[0]),
        ("policy", 1, RATE_LIMIT.rules[0]),
        ("project", 1, RATE_LIMIT.rules[0]),
    ]
    assert len({rule.key for rule in caller.charges.rules}) == 3


def test_a_policys_limit_for_users_counts_all_keys_of_a_user_together() -> None:
    policy = replace(POLICY, user_rate_limit_id=RATE_LIMIT.id)
    caller = authenticate(BEARER, RATE_LIMIT, replace(RELAY_KEY, user_id=nouns.UserId(5)), policy, PROJECT)
    assert [(rule.charge.scope, rule.charge.owner_id) for rule in caller.charges.rules] == [("user", 5)]
    assert authenticate(BEARER, RATE_LIMIT, RELAY_KEY, policy, PROJECT).charges is NO_CHARGES
