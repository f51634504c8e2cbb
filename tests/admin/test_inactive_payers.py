"""Nobody spends the wallet of somebody who is deactivated: relay keys that a user pays for stop with the account."""

import threading
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from relay_admin.access.models import AuditEvent, RelayKey, User
from relay_admin.access.services import relay_key_mint
from tests.admin import rows


@pytest.fixture
def payer(db: None) -> User:
    user = User.objects.create_user("payer", "payer@example.test")
    user.refresh_from_db()  # the database gave the wallets
    return user


def mint(catalog: rows.Catalog, user: User, name: str, **columns: Any) -> tuple[RelayKey, str]:
    minted = relay_key_mint(project=catalog.project, name=name, user=user, **{"scopes": ["inference"], **columns})
    return minted.relay_key, minted.token


def states(*keys: RelayKey) -> list[str]:
    for key in keys:
        key.refresh_from_db()
    return [key.state(timezone.now()) for key in keys]


def test_keys_stop_with_their_payer_and_come_back_with_them(catalog: rows.Catalog, payer: User, token_of: Any) -> None:
    theirs, _ = mint(catalog, payer, "theirs", pays="user")
    test, _ = mint(catalog, payer, "test", pays="user", mode="test")
    projects, _ = mint(catalog, payer, "projects", created_by=payer)
    payer.is_active = False
    payer.save()
    assert states(theirs, test, projects, catalog.relay_key) == ["stopped", "stopped", "active", "active"]
    shown = Client().get(f"/api/v1/relay-keys/{theirs.pk}", headers=token_of("operators")).json()
    assert (shown["payerIsActive"], shown["revokedAt"]) == (False, None)
    event = AuditEvent.objects.filter(subject="access.relaykey", subject_id=theirs.pk).latest("id")
    assert (event.before, event.after) == ({"payer_is_active": True}, {"payer_is_active": False})
    User.objects.filter(pk=payer.pk).update(is_active=True)
    assert states(theirs, test, projects) == ["active"] * 3


def test_a_change_of_a_key_does_not_start_it_again(catalog: rows.Catalog, payer: User) -> None:
    User.objects.filter(pk=payer.pk).update(is_active=False)
    key, _ = mint(catalog, payer, "theirs", pays="user")
    RelayKey.objects.filter(pk=key.pk).update(payer_is_active=True, name="other")
    assert states(key) == ["stopped"]
    RelayKey.objects.filter(pk=key.pk).update(pays="project")
    assert states(key) == ["active"]


def test_the_control_plane_takes_no_stopped_key_either(catalog: rows.Catalog, payer: User) -> None:
    _, token = mint(catalog, payer, "theirs", pays="user", scopes=["control"])
    asked = {"path": "/api/v1/relay-keys", "headers": {"Authorization": f"Bearer {token}"}}
    answers = []
    for is_active in (True, False):
        User.objects.filter(pk=payer.pk).update(is_active=is_active)
        answers.append(Client().get(**asked).status_code)
    assert answers == [200, 401]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_key_that_is_made_while_its_payer_is_deactivated_is_stopped(catalog: rows.Catalog) -> None:
    payer = User.objects.create_user("payer", "payer@example.test")

    def make() -> None:
        try:
            mint(catalog, payer, "theirs", pays="user")
        finally:
            connection.close()

    making = threading.Thread(target=make)
    with transaction.atomic():
        User.objects.filter(pk=payer.pk).update(is_active=False)
        making.start()
        while making.is_alive() and not _somebody_waits():
            making.join(0.01)
    making.join()
    assert states(RelayKey.objects.get(name="theirs")) == ["stopped"]


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])
