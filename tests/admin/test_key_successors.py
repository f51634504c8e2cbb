"""Keys that are rotated by themselves, and the token of their successor, which is told once."""

import secrets
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from relay_admin.access import services
from relay_admin.access.key_successors import (
    SuccessorGoneError,
    relay_key_successor_reveal,
    relay_keys_rotate_due,
)
from relay_admin.access.models import AuditEvent, Membership, RelayKey, User
from relay_admin.catalog.models import Project
from relay_admin.catalog.services import sealer
from relay_admin.ledger import folding
from relay_admin.ledger.models import KeyUse, UsageDelta
from relay_contract import tokens
from relay_contract.nouns import KeyMode, relay_key_successor_binding
from relay_contract.sealing import SealingError
from tests.admin import rows

JSON = "application/json"
KEYS = "/api/v1/relay-keys"
SELF = f"{KEYS}/self/successor"
DAY = timedelta(days=1)
CALLERS = 32


@pytest.fixture(autouse=True)
def _master_key(settings: Any) -> Any:
    settings.MASTER_KEYS = (secrets.token_bytes(32),)
    sealer.cache_clear()
    yield
    sealer.cache_clear()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def due(catalog: rows.Catalog, **columns: Any) -> RelayKey:
    """The key, half a day before its successor is to be made."""
    now = timezone.now()
    wanted = {"created_at": now - 23 * DAY, "expires_at": now + 6.5 * DAY, "rotates_days_before": 7, **columns}
    RelayKey.objects.filter(pk=catalog.relay_key.pk).update(**wanted)
    return RelayKey.objects.get(pk=catalog.relay_key.pk)


def test_a_key_is_rotated_when_its_time_has_come(catalog: rows.Catalog) -> None:
    key = due(catalog)
    would_end = key.ends_at
    assert (relay_keys_rotate_due(), relay_keys_rotate_due()) == (1, 0)
    key.refresh_from_db()
    successor = key.successor
    assert successor is not None
    assert (key.ends_at, key.successor_waits, successor.rotates_days_before) == (would_end, True, 7)
    assert abs(successor.expires_at - timezone.now() - 29.5 * DAY) < timedelta(minutes=5)
    told = relay_key_successor_reveal(relay_key=key)
    assert tokens.hash_token(told.token) == bytes(successor.token_hash)
    with pytest.raises(SuccessorGoneError):
        relay_key_successor_reveal(relay_key=key)


@pytest.mark.parametrize(
    "why",
    [
        {"rotates_days_before": None},
        {"rotates_days_before": 6},
        {"revoked_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"has_successor": True},
        {"expires_at": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
    ids=["never", "early", "revoked", "rotated", "over"],
)
def test_no_other_key_is(why: dict[str, Any], catalog: rows.Catalog) -> None:
    due(catalog, **why)
    assert relay_keys_rotate_due() == 0
    assert RelayKey.objects.count() == 1


def test_what_cannot_be_rotated_stops_no_other(catalog: rows.Catalog) -> None:
    due(catalog)
    bad = services.relay_key_mint(
        project=catalog.project, name="bad", scopes=["relay"], expires_at=timezone.now() + 9 * DAY
    ).relay_key
    RelayKey.objects.filter(pk=bad.pk).update(rotates_days_before=20)  # more than its life, by SQL
    assert relay_keys_rotate_due() == 1
    bad.refresh_from_db()
    assert not bad.has_successor


def test_it_tells_its_holder_once_also_in_the_last_days(catalog: rows.Catalog) -> None:
    key = due(catalog, expires_at=timezone.now() - DAY / 2)
    relay_keys_rotate_due()
    client = Client()
    assert client.get(SELF, headers=bearer(catalog.token)).status_code == 405
    told = client.post(SELF, {}, JSON, headers=bearer(catalog.token))
    assert (told.status_code, told["Cache-Control"]) == (200, "no-store")
    token = told.json()["token"]
    assert RelayKey.objects.get(token_hash=tokens.hash_token(token)).predecessor == key
    again = client.post(SELF, {}, JSON, headers=bearer(catalog.token))
    assert (again.status_code, again.json()["error"]) == (410, "successor_gone")
    assert client.post(SELF, {}, JSON, headers=bearer(token)).status_code == 410
    event = AuditEvent.objects.filter(subject="access.relaykey", subject_id=key.pk).latest("id")
    assert (event.via, event.tool) == ("api", f"relay key {key.key_id}")
    assert event.after == {"successor_waits": False, "sealed_successor_token": "\\x"}
    assert event.before == {"successor_waits": True, "sealed_successor_token": "(changed)"}


@pytest.mark.parametrize("why", ["nobody", "unknown", "revoked", "over", "elsewhere", "archived", "successor revoked"])
def test_it_tells_nobody_else(why: str, catalog: rows.Catalog) -> None:
    key = due(catalog)
    relay_keys_rotate_due()
    mine = RelayKey.objects.filter(pk=key.pk)
    headers = bearer(catalog.token)
    match why:
        case "nobody":
            headers = {}
        case "unknown":
            headers = bearer(tokens.mint(KeyMode.LIVE).token)
        case "revoked":
            mine.update(revoked_at=timezone.now())
        case "over":
            mine.update(expires_at=timezone.now(), rotates_days_before=None)
        case "elsewhere":
            mine.update(allowed_networks=["192.0.2.0/24"])
        case "archived":
            Project.objects.update(is_archived=True)
        case "successor revoked":
            services.relay_key_revoke(relay_key=RelayKey.objects.get(predecessor=key))
    wanted = 410 if why == "successor revoked" else 401
    assert Client().post(SELF, {}, JSON, headers=headers).status_code == wanted
    assert RelayKey.objects.get(pk=key.pk).successor_waits


def test_the_token_opens_in_its_own_row_alone(catalog: rows.Catalog) -> None:
    key = due(catalog)
    relay_keys_rotate_due()
    other = services.relay_key_mint(project=catalog.project, name="other", scopes=["relay"]).relay_key
    services.relay_key_rotate(relay_key=other)
    stolen = bytes(RelayKey.objects.get(pk=key.pk).sealed_successor_token)
    RelayKey.objects.filter(pk=other.pk).update(sealed_successor_token=stolen, successor_waits=True)
    with pytest.raises(SealingError):
        relay_key_successor_reveal(relay_key=other)
    assert RelayKey.objects.get(pk=other.pk).successor_waits
    assert sealer().unseal(stolen, relay_key_successor_binding(key.pk)).startswith("rk_live_")


@pytest.mark.parametrize(
    "columns",
    [
        {"successor_waits": True},
        {"sealed_successor_token": b"x"},
        {"successor_waits": True, "sealed_successor_token": b"x", "has_successor": False},
        {"rotates_days_before": 7, "expires_at": None},
        {"rotates_days_before": 0, "expires_at": datetime(2030, 1, 1, tzinfo=UTC)},
    ],
)
def test_rows_that_say_two_things_are_refused(columns: dict[str, Any], catalog: rows.Catalog) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        RelayKey.objects.update(**columns)


def test_who_manages_the_key_may_be_told(token_of: Any, catalog: rows.Catalog) -> None:
    key = due(catalog)
    relay_keys_rotate_due()
    address = f"{KEYS}/{key.pk}/successor"
    assert Client().post(address, {}, JSON, headers=token_of("viewers")).status_code == 403
    operators = token_of("operators")
    told = Client().post(address, {}, JSON, headers=operators)
    assert (told.status_code, told["Cache-Control"]) == (200, "no-store")
    assert tokens.parse(told.json()["token"]) is not None
    assert Client().post(address, {}, JSON, headers=operators).status_code == 410
    assert Client().post(SELF, {}, JSON, headers=bearer(catalog.token)).status_code == 410


def test_the_admin_asks_and_shows_it_once(client_of: Any, catalog: rows.Catalog) -> None:
    key = due(catalog)
    relay_keys_rotate_due()
    client: Client = client_of("operators")
    address = f"/admin/access/relaykey/{key.pk}/successor_token/"
    assert "It is shown once" in client.get(address).content.decode()
    shown = client.post(address, {"confirmed": "yes"})
    assert shown.content.decode().count("rk_live_") > 0
    assert shown["Cache-Control"].startswith("no-store")
    again = client.post(address, {"confirmed": "yes"}, follow=True).content.decode()
    assert "It is told once" in again


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_many_who_ask_at_once_one_is_told() -> None:
    catalog = rows.catalog_rows()
    due(catalog)
    relay_keys_rotate_due()
    barrier, answers = threading.Barrier(CALLERS), []

    def ask() -> None:
        barrier.wait()
        try:
            answers.append(Client().post(SELF, {}, JSON, headers=bearer(catalog.token)).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [410] * (CALLERS - 1)


# --- how long keys live ---


def member(project: Project, role: str) -> tuple[User, dict[str, str]]:
    user = rows.user(role)
    Membership.objects.create(project=project, user=user, role=role)
    return user, bearer(services.admin_token_mint(user=user, name="t").token)


def test_a_project_says_how_long_keys_live(token_of: Any, catalog: rows.Catalog) -> None:
    Project.objects.update(key_life_days=30, longest_key_life_days=90, endless_keys="admins")
    _, developer = member(catalog.project, "developer")
    _, admin = member(catalog.project, "admin")
    body = {"project": "shop", "scopes": ["relay"], "mode": "test"}
    now = timezone.now()

    def mint(name: str, headers: dict[str, str], **more: Any) -> Any:
        return Client().post(KEYS, {**body, "name": name, **more}, JSON, headers=headers)

    unsaid = mint("a", developer).json()
    assert abs(datetime.fromisoformat(unsaid["expiresAt"]) - now - 30 * DAY) < timedelta(minutes=5)
    assert mint("b", developer, expiresAt=(now + 89 * DAY).isoformat()).status_code == 201
    assert mint("c", developer, expiresAt=(now + 91 * DAY).isoformat()).status_code == 400
    assert mint("d", developer, expiresAt=None).status_code == 400
    assert mint("e", admin, expiresAt=None).json()["expiresAt"] is None
    assert mint("f", token_of("operators"), expiresAt=(now + 91 * DAY).isoformat()).status_code == 400
    address = f"{KEYS}/{unsaid['id']}"
    for expiry in (None, (now + 91 * DAY).isoformat()):
        assert Client().patch(address, {"expiresAt": expiry}, JSON, headers=developer).status_code == 400
    assert Client().patch(address, {"name": "same"}, JSON, headers=developer).status_code == 200
    assert Client().patch(address, {"expiresAt": None}, JSON, headers=admin).json()["expiresAt"] is None
    Project.objects.update(endless_keys="operators")
    assert mint("g", admin, expiresAt=None).status_code == 400


def test_the_admin_keeps_to_it_too(client_of: Any, catalog: rows.Catalog) -> None:
    Project.objects.update(key_life_days=30, longest_key_life_days=90)
    client: Client = client_of("operators")
    form = {"project": catalog.project.pk, "name": "late", "mode": "live", "scopes": ["relay"], "pays": "project"}
    late = {"expires_at_0": (timezone.now() + 91 * DAY).date().isoformat(), "expires_at_1": "00:00:00"}
    refused = client.post("/admin/access/relaykey/add/", {**form, **late})
    assert "live 90 days at most" in refused.content.decode()
    client.post("/admin/access/relaykey/add/", form)
    assert abs(RelayKey.objects.get(name="late").expires_at - timezone.now() - 30 * DAY) < timedelta(minutes=5)


def test_rotating_by_itself_needs_an_end_and_a_longer_life(token_of: Any, catalog: rows.Catalog) -> None:
    address, headers = f"{KEYS}/{catalog.relay_key.pk}", token_of("operators")
    soon = (timezone.now() + 5 * DAY).isoformat()
    for body, status in (
        ({"rotatesDaysBefore": 7}, 400),
        ({"rotatesDaysBefore": 7, "expiresAt": soon}, 400),
        ({"rotatesDaysBefore": 0, "expiresAt": soon}, 400),
        ({"rotatesDaysBefore": 91, "expiresAt": soon}, 400),
        ({"rotatesDaysBefore": 4, "expiresAt": soon}, 200),
        ({"expiresAt": None}, 400),
        ({"expiresAt": None, "rotatesDaysBefore": None}, 200),
    ):
        assert Client().patch(address, body, JSON, headers=headers).status_code == status, body


def test_the_day_of_last_use_comes_from_usage_hours(token_of: Any, catalog: rows.Catalog) -> None:
    address, headers = f"{KEYS}/{catalog.relay_key.pk}", token_of("operators")
    assert Client().get(address, headers=headers).json()["lastUsedOn"] is None
    for hours in (
        [datetime(2026, 5, 2, 23, tzinfo=UTC), datetime(2026, 5, 1, 1, tzinfo=UTC)],
        [datetime(2026, 4, 1, 1, tzinfo=UTC)],
    ):
        for hour in hours:
            UsageDelta.objects.create(
                project_id=catalog.project.pk, hour=hour, mode="live", what="call", relay_key_id=catalog.relay_key.pk,
                user_id=0, application_id=0, model="m", target_id=0, calls=1, charge=1, cost=1, markup=0,
                input_tokens=1, output_tokens=1, cache_read_tokens=0,
            )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute(folding.FOLD_USAGE)
        assert Client().get(address, headers=headers).json()["lastUsedOn"] == "2026-05-02"
    assert KeyUse.objects.count() == 1


# --- keys of one's own ---


OWN = {"project": "shop", "name": "own", "scopes": ["inference"], "policy": "all", "pays": "user"}


@pytest.mark.parametrize("role", ["customer", "developer", "admin", "owner"])
def test_who_belongs_may_make_keys_that_they_pay_for(role: str, catalog: rows.Catalog) -> None:
    user, headers = member(catalog.project, role)
    user.refresh_from_db()
    made = Client().post(KEYS, OWN, JSON, headers=headers)
    assert made.status_code == 201
    key = RelayKey.objects.get(pk=made.json()["id"])
    assert (key.user, key.pays, key.wallet_id) == (user, "user", user.live_wallet_id)
    address = f"{KEYS}/{key.pk}"
    assert Client().get(address, headers=headers).status_code == 200
    assert Client().patch(address, {"name": "renamed"}, JSON, headers=headers).status_code == 200
    rotated = Client().post(f"{address}/rotate", {}, JSON, headers=headers)
    assert RelayKey.objects.get(pk=rotated.json()["id"]).wallet_id == user.live_wallet_id
    assert Client().post(f"{address}/revoke", {}, JSON, headers=headers).json()["revokedAt"] is not None


def test_a_customer_sees_and_makes_no_others(catalog: rows.Catalog) -> None:
    _, headers = member(catalog.project, "customer")
    own = Client().post(KEYS, OWN, JSON, headers=headers).json()
    listed = Client().get(KEYS, headers=headers).json()["results"]
    assert [one["id"] for one in listed] == [own["id"]]
    for changes, status in (
        ({"pays": "project"}, 403),
        ({"pays": "project", "mode": "test"}, 403),
        ({"scopes": ["inference", "relay"]}, 400),
        ({"scopes": ["control"]}, 400),
        ({"rateLimit": None}, 400),
        ({"capturesPayloads": True}, 400),
        ({"user": 1}, 400),
        ({"userId": 1}, 400),
        ({"walletId": 100}, 400),
        ({"pays": "platform"}, 400),
    ):
        answer = Client().post(KEYS, {**OWN, "name": "more", **changes}, JSON, headers=headers)
        assert answer.status_code == status, changes
    for changes in ({"scopes": ["relay"]}, {"pays": "project"}, {"user": 1}, {"capturesPayloads": True}):
        address = f"{KEYS}/{own['id']}"
        assert Client().patch(address, changes, JSON, headers=headers).status_code == 400, changes
    assert RelayKey.objects.count() == 2


def test_nobody_else_in_the_project_gets_at_somebodys_wallet(token_of: Any, catalog: rows.Catalog) -> None:
    """Whoever rotates a key has a token that spends what it spends."""
    _, customer = member(catalog.project, "customer")
    _, admin = member(catalog.project, "admin")
    key = Client().post(KEYS, OWN, JSON, headers=customer).json()["id"]
    address = f"{KEYS}/{key}"
    assert Client().get(address, headers=admin).status_code == 200
    for headers in (admin,):
        assert Client().patch(address, {"budget": None}, JSON, headers=headers).status_code == 403
        assert Client().post(f"{address}/rotate", {}, JSON, headers=headers).status_code == 403
        assert Client().post(f"{address}/successor", {}, JSON, headers=headers).status_code == 403
    assert not RelayKey.objects.get(pk=key).has_successor
    assert Client().post(f"{address}/revoke", {}, JSON, headers=admin).status_code == 200


def test_a_key_with_control_pays_by_no_wallet(catalog: rows.Catalog) -> None:
    control = services.relay_key_mint(project=catalog.project, name="c", scopes=["control"]).token
    assert Client().post(KEYS, OWN, JSON, headers=bearer(control)).status_code == 403


def test_whoever_leaves_pays_for_nothing_more(catalog: rows.Catalog) -> None:
    _, headers = member(catalog.project, "customer")
    key = Client().post(KEYS, OWN, JSON, headers=headers).json()["id"]
    assert Client().post("/api/v1/projects/shop/leave", {}, JSON, headers=headers).status_code == 204
    assert RelayKey.objects.get(pk=key).revoked_at is not None
    assert RelayKey.objects.get(pk=catalog.relay_key.pk).revoked_at is None


def test_the_wallet_follows_whoever_writes_the_row(catalog: rows.Catalog) -> None:
    ada, bob = rows.user("ada"), rows.user("bob")
    for user in (ada, bob):
        user.refresh_from_db()
    key = services.relay_key_mint(
        project=catalog.project, name="k", scopes=["inference"], user=ada, pays="user"
    ).relay_key
    mine = RelayKey.objects.filter(pk=key.pk)

    def wallet() -> int | None:
        return mine.get().wallet_id

    mine.update(user=bob)
    assert wallet() == bob.live_wallet_id
    mine.update(wallet_id=ada.live_wallet_id)
    assert wallet() == bob.live_wallet_id
    mine.update(mode="test")
    assert wallet() == bob.test_wallet_id
    mine.update(pays="project", wallet_id=ada.live_wallet_id)
    assert wallet() is None
    mine.update(pays="user")
    services.relay_key_change(relay_key=key, changes={"user": ada})
    assert wallet() == ada.test_wallet_id
    ada.delete()
    gone = mine.get()
    assert (gone.user, gone.revoked_at is None) == (None, False)
    with pytest.raises(IntegrityError), transaction.atomic():
        RelayKey.objects.bulk_create(
            [RelayKey(project=catalog.project, name="z", key_id="z", token_hash=b"z" * 32, scopes=["relay"],
                      pays="user", wallet_id=bob.live_wallet_id)]
        )  # fmt: skip
