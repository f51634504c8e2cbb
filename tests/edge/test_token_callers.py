"""Users of applications, by their access tokens: who they are, what refuses them, and what is remembered."""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from relay_contract import nouns, tokens
from relay_contract.access_tokens import LIFE_SECONDS
from relay_contract.errors import (
    InvalidKey,
    ProjectArchived,
    RelayError,
    ScopeMissing,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
)
from relay_contract.nouns import ApplicationId, Noun, RevocationKind, Scope
from relay_contract.periods import Period
from relay_edge import token_callers
from relay_edge.auth import Authenticator
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.token_callers import TokenCallers
from tests.edge.nouns import APPLICATION, MODEL, MOMENT, POLICY, PROJECT, RATE_LIMIT, RELAY_KEY, TOKEN, numbered
from tests.edge.tokens import AUDIENCE, ISSUER, USER_ID, bearer, claims, signing_key, written

NOW = MOMENT.timestamp()


def rows(*others: Noun) -> list[Noun]:
    """All that a good token needs, and these instead of the usual ones."""
    replaced = {(type(each), each.id) for each in others}
    usual: list[Noun] = [signing_key(), PROJECT, POLICY, APPLICATION, RATE_LIMIT]
    return [*(each for each in usual if (type(each), each.id) not in replaced), *others]


def callers() -> TokenCallers:
    return TokenCallers(ISSUER, AUDIENCE)


def token(**changes: Any) -> bytes:
    return written(claims(NOW, **changes)).encode()


def recognised(*others: Noun, scope: Scope = Scope.INFERENCE, now: float = NOW, **changes: Any) -> Any:
    return callers().recognise(Snapshot.build(rows(*others)), token(**changes), scope, now)


def revocation(kind: RevocationKind, value: str, issued_before: float = NOW + 0.5) -> nouns.Revocation:
    before = datetime.fromtimestamp(issued_before, UTC)
    return nouns.Revocation(nouns.RevocationId(1), kind, value, before, before + timedelta(seconds=LIFE_SECONDS))


def test_a_token_stands_for_a_user_of_an_application() -> None:
    caller = recognised()
    assert (caller.project, caller.policy, caller.application, caller.user_id) == (
        PROJECT,
        POLICY,
        APPLICATION,
        USER_ID,
    )
    assert (caller.relay_key, caller.application_id, caller.owner) == (None, APPLICATION.id, ("user", USER_ID))
    assert caller.scopes == (Scope.INFERENCE,)
    assert caller.ends_at == int(NOW) + LIFE_SECONDS


@pytest.mark.parametrize("mode", list(nouns.KeyMode))
def test_a_users_calls_are_paid_by_the_pool_then_the_user_within_the_users_cap(mode: nouns.KeyMode) -> None:
    project = replace(PROJECT, pool_cap_microcredits=70, markup_ppm=100_000, terms_id=nouns.TermsId(6), budget=None)
    app = replace(APPLICATION, mode=mode)
    purses = recognised(project, app, mode=mode, wallet_id=300, cap_microcredits=9, authorization_id=41).purses
    pool, own = purses.payers
    assert pool.account == (project.live_pool_id if mode is nouns.KeyMode.LIVE else project.test_pool_id)
    assert (pool.markup_ppm, pool.terms_id) == (0, None)
    assert (own.account, own.markup_ppm, own.terms_id) == (300, 100_000, 6)
    [cap] = purses.budgets
    assert (cap.scope, cap.limit, cap.period) == ("grant", 9, Period.MONTH)
    assert b"grant:41" in cap.packed_key
    assert purses.is_prepaid, "also where the project pays afterwards"
    assert recognised(project, app, mode=mode, cap_microcredits=None).purses.budgets == ()


def test_an_applications_own_words_count() -> None:
    test = replace(APPLICATION, mode=nouns.KeyMode.TEST, policy_id=None, captures_payloads=True)
    caller = recognised(test, mode=nouns.KeyMode.TEST)
    assert (caller.mode, caller.policy, caller.captures_payloads) == (nouns.KeyMode.TEST, None, True)
    assert recognised(replace(POLICY, captures_payloads=True)).captures_payloads
    assert not recognised().captures_payloads


def test_a_call_is_charged_to_application_policy_user_and_project() -> None:
    limited = {"rate_limit_id": RATE_LIMIT.id}
    caller = recognised(
        replace(APPLICATION, **limited),
        replace(POLICY, **limited, user_rate_limit_id=RATE_LIMIT.id),
        replace(PROJECT, **limited),
    )
    assert [(each.charge.scope, each.charge.owner_id) for each in caller.charges.rules] == [
        ("application", APPLICATION.id),
        ("policy", POLICY.id),
        ("user", USER_ID),
        ("project", PROJECT.id),
    ]
    assert "of this application is reached" in caller.charges.rules[0].refusal_text(1)


PAST = {"now": NOW + LIFE_SECONDS}
ARCHIVED = replace(PROJECT, is_archived=True)
OTHERS = replace(APPLICATION, client_id="app_other")


@pytest.mark.parametrize(
    ("others", "changes", "error"),
    [
        ([replace(APPLICATION, is_enabled=False), ARCHIVED], PAST | {"scopes": ("account",)}, TokenExpired),
        ([replace(APPLICATION, is_enabled=False), ARCHIVED], {"scopes": ("account",)}, TokenRevoked),
        ([], {"application_id": 2}, TokenRevoked),
        ([OTHERS], {}, TokenRevoked),
        ([replace(APPLICATION, project_id=nouns.ProjectId(2)), numbered(PROJECT, 2)], {}, TokenRevoked),
        ([numbered(PROJECT, 2)], {"project_id": 2}, TokenRevoked),
        ([], {"project_id": 2}, TokenRevoked),
        ([], {"mode": nouns.KeyMode.TEST}, TokenRevoked),
        ([revocation(RevocationKind.JTI, "j" * 22)], {}, TokenRevoked),
        ([revocation(RevocationKind.GRANT, "9")], {}, TokenRevoked),
        ([revocation(RevocationKind.USER, "17")], {}, TokenRevoked),
        ([revocation(RevocationKind.APPLICATION, "1")], {}, TokenRevoked),
        ([ARCHIVED], {"scopes": ("account",)}, ProjectArchived),
        ([], {"scopes": ("account",)}, ScopeMissing),
        ([], {"scope": Scope.RELAY}, ScopeMissing),
        ([], {"scopes": ("inference", "relay"), "scope": Scope.RELAY}, ScopeMissing),
        ([signing_key(kid="other")], {}, TokenInvalid),
        ([signing_key(retires_at=MOMENT)], {}, TokenInvalid),
        ([signing_key(public_der=b"broken")], {}, TokenInvalid),
    ],
)
def test_the_order_of_refusals(others: list[Noun], changes: dict[str, Any], error: type[RelayError]) -> None:
    with pytest.raises(error) as raised:
        recognised(*others, **changes)
    assert type(raised.value) is error


@pytest.mark.parametrize(
    "other",
    [
        revocation(RevocationKind.JTI, "k" * 22),
        revocation(RevocationKind.USER, "9"),
        revocation(RevocationKind.GRANT, "17"),
        revocation(RevocationKind.APPLICATION, "9"),
        revocation(RevocationKind.USER, "17", issued_before=NOW),  # the token is younger
        numbered(replace(APPLICATION, is_enabled=False), 2),
    ],
)
def test_what_is_said_of_others_refuses_nobody(other: Noun) -> None:
    assert recognised(other).user_id == USER_ID


def test_a_signing_key_is_taken_until_it_retires() -> None:
    known, snapshot = callers(), Snapshot.build(rows(signing_key(retires_at=MOMENT + timedelta(seconds=5))))
    shown = token()
    assert known.recognise(snapshot, shown, Scope.INFERENCE, NOW + 4.9)
    with pytest.raises(TokenInvalid):
        known.recognise(snapshot, shown, Scope.INFERENCE, NOW + 5)
    assert known.count() == 0


def test_one_unreadable_key_does_not_stop_the_others() -> None:
    broken = signing_key(id=nouns.SigningKeyId(2), kid="broken", public_der=b"?")
    assert recognised(broken).user_id == USER_ID


class Counting(TokenCallers):
    """Counts how often a token had to be read."""

    read = 0

    def watch(self) -> None:
        reader = self._reader
        counting = self

        class Watched:
            @staticmethod
            def read(shown: bytes, now: float) -> Any:
                counting.read += 1
                return reader.read(shown, now)

        self._reader = Watched()  # type: ignore[assignment]  # it reads as one


Change = Callable[[Snapshot], Snapshot]


def changed(row: Noun) -> Change:
    return lambda snapshot: snapshot.apply({type(row): {row.id: row}})


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        (changed(MODEL), True),
        (changed(RELAY_KEY), True),
        (lambda _: Snapshot.build(rows()), False),
        (changed(replace(POLICY, is_strict=True)), False),
        (changed(replace(PROJECT, slug="renamed")), False),
        (changed(replace(RATE_LIMIT, slug="other")), False),
        (changed(revocation(RevocationKind.USER, "3")), False),
        (changed(replace(APPLICATION, captures_payloads=True)), False),
    ],
)
def test_a_change_of_the_catalog_costs_no_token_its_signature_again(change: Change, is_same: bool) -> None:
    known, snapshot = Counting(ISSUER, AUDIENCE), Snapshot.build(rows())
    shown = token()
    first = known.recognise(snapshot, shown, Scope.INFERENCE, NOW)
    known.watch()
    following = change(snapshot)
    assert (known.recognise(following, shown, Scope.INFERENCE, NOW) is first) is is_same
    assert known.recognise(following, shown, Scope.INFERENCE, NOW).project == following.project(PROJECT.id)
    assert known.read == 0


def test_a_revocation_ends_a_token_that_was_known_and_its_end_is_the_tokens() -> None:
    known, snapshot = callers(), Snapshot.build(rows())
    shown = token()
    assert known.recognise(snapshot, shown, Scope.INFERENCE, NOW)
    revoked = changed(revocation(RevocationKind.JTI, "j" * 22))(snapshot)
    for _ in range(2):
        with pytest.raises(TokenRevoked):
            known.recognise(revoked, shown, Scope.INFERENCE, NOW)
    with pytest.raises(TokenExpired):
        known.recognise(revoked, shown, Scope.INFERENCE, NOW + LIFE_SECONDS)


def test_no_replaced_snapshot_is_held_where_only_the_other_sort_of_callers_comes() -> None:
    authenticator = Authenticator(tokens=callers())
    good, by_key = bearer(token().decode()), bearer(TOKEN.token)
    for other in (by_key, good):
        first, second = Snapshot.build(rows(RELAY_KEY)), Snapshot.build(rows(RELAY_KEY))
        for shown in (good, by_key):
            authenticator.authenticate(first, CIMultiDict(shown), Scope.INFERENCE, NOW)
        authenticator.authenticate(second, CIMultiDict(other), Scope.INFERENCE, NOW)
        assert sys.getrefcount(first) == 2  # this function's, and the question's


def test_a_new_signing_key_forgets_every_token() -> None:
    known, snapshot = callers(), Snapshot.build(rows())
    shown = token()
    known.recognise(snapshot, shown, Scope.INFERENCE, NOW)
    gone = snapshot.apply({nouns.SigningKey: {1: None}})
    with pytest.raises(TokenInvalid):
        known.recognise(gone, shown, Scope.INFERENCE, NOW)
    assert known.count() == 0


def test_forged_and_refused_tokens_leave_no_memory() -> None:
    known, snapshot = callers(), Snapshot.build(rows())
    head, payload, signature = token().split(b".")
    for number in range(10_000):
        forged = b".".join((head, payload, b"%04d" % number + signature[4:]))
        with pytest.raises(TokenInvalid):
            known.recognise(snapshot, forged, Scope.INFERENCE, NOW)
    with pytest.raises(TokenExpired):
        known.recognise(snapshot, token(), Scope.INFERENCE, NOW + LIFE_SECONDS)
    assert known.count() == 0


def test_tokens_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_callers, "MOST_TOKENS", 3)
    known, snapshot = callers(), Snapshot.build(rows())
    for number in range(5):
        known.recognise(snapshot, token(jti=f"{number:022}"), Scope.INFERENCE, NOW)
        assert known.count() <= 3


def test_tokens_that_ended_are_forgotten() -> None:
    known, snapshot = callers(), Snapshot.build(rows())
    for number in range(3):
        shown = written(claims(NOW, jti=f"{number:022}")).encode()
        known.recognise(snapshot, shown, Scope.INFERENCE, NOW)
    for turn in (1, 2):
        later = NOW + turn * LIFE_SECONDS
        known.recognise(snapshot, written(claims(later)).encode(), Scope.INFERENCE, later)
    assert known.count() == 2


def test_the_form_decides_whether_it_is_a_token_or_a_relay_key() -> None:
    authenticator = Authenticator(tokens=callers())
    snapshot = Snapshot.build(rows(RELAY_KEY))

    def answer(lines: Any) -> Any:
        return authenticator.authenticate(snapshot, CIMultiDict(lines), Scope.INFERENCE, NOW)

    good = token().decode()
    assert answer(bearer(good)).user_id == USER_ID
    assert answer({"x-api-key": good}).user_id == USER_ID
    for wrong in ("a.b.c", good + ".", good[:-1] + "\udce9", f"{good}\u00e9", "x" * 4_097, good + "A" * 4_096):
        with pytest.raises(InvalidKey):
            answer(bearer(wrong))
    with pytest.raises(InvalidKey):
        answer(bearer(tokens.mint(nouns.KeyMode.LIVE).token))
    with pytest.raises(InvalidKey):
        Authenticator().authenticate(snapshot, CIMultiDict(bearer(good)), Scope.INFERENCE, NOW)


@pytest.mark.parametrize("whose", [{"issuer": "http://other.test"}, {"audience": "http://other.test"}])
def test_a_token_of_another_relay_is_refused(whose: dict[str, str]) -> None:
    with pytest.raises(TokenInvalid, match="another service"):
        callers().recognise(Snapshot.build(rows()), written(claims(NOW), **whose).encode(), Scope.INFERENCE, NOW)


def test_an_application_is_found_by_its_id_alone() -> None:
    """Two rows may briefly share a client id; the token names the row."""
    twin = numbered(APPLICATION, 2, policy_id=None)
    assert recognised(twin, application_id=ApplicationId(2)).policy is None
