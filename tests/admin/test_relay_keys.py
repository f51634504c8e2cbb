"""The life of a relay key: services, admin page and control API."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from relay_admin.access import services
from relay_admin.access.models import RelayKey
from relay_contract import tokens
from tests.admin import rows

JSON = "application/json"
KEYS = "/api/v1/relay-keys"


def test_a_successor_has_the_rights_and_the_key_ends_with_the_overlap(catalog: rows.Catalog) -> None:
    key = catalog.relay_key
    key.allowed_networks = ["192.0.2.0/24"]
    key.save()
    before = timezone.now()
    minted = services.relay_key_rotate(relay_key=key)
    successor = RelayKey.objects.get(pk=minted.relay_key.pk)
    kept = ("project_id", "mode", "scopes", "policy_id", "rate_limit_id", "user_id", "allowed_networks")
    assert [getattr(successor, name) for name in kept] == [getattr(key, name) for name in kept]
    assert (successor.name, successor.expires_at) == (f"{key.name}-2", None)
    assert bytes(successor.token_hash) == tokens.hash_token(minted.token)
    key.refresh_from_db()
    assert (key.successor, key.has_successor, key.ends_at) == (successor, True, key.expires_at)
    assert before + services.OVERLAP <= key.expires_at <= timezone.now() + services.OVERLAP
    assert (key.state(before), key.state(key.expires_at)) == ("expiring", "expired")


def test_a_rotated_key_lives_no_longer_than_it_would_have(catalog: rows.Catalog) -> None:
    key = catalog.relay_key
    key.expires_at = timezone.now() - timedelta(hours=23)
    key.save()
    would_end = key.ends_at
    services.relay_key_rotate(relay_key=key)
    key.refresh_from_db()
    assert key.ends_at == would_end


@pytest.mark.parametrize("ended", ["revoked", "expired", "rotated"])
def test_a_key_that_has_ended_has_no_successor_to_give(ended: str, catalog: rows.Catalog) -> None:
    key = catalog.relay_key
    if ended == "revoked":
        services.relay_key_revoke(relay_key=key)
    elif ended == "expired":
        RelayKey.objects.update(expires_at=timezone.now() - timedelta(days=1))
    else:
        services.relay_key_rotate(relay_key=key)
    count = RelayKey.objects.count()
    with pytest.raises(ValidationError):
        services.relay_key_rotate(relay_key=key)
    assert RelayKey.objects.count() == count


def test_the_admin_asks_and_shows_the_successor_once(client_of: Any, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    url = f"/admin/access/relaykey/{catalog.relay_key.pk}/rotate/"
    assert "Mint a successor" in client.get(url).content.decode()
    assert RelayKey.objects.count() == 1
    answer = client.post(url, {"confirmed": "yes"})
    (token,) = set(re.findall(r"rk_live_[0-9A-Za-z]{50}", answer.content.decode()))
    assert answer["Cache-Control"].startswith("no-store")
    assert RelayKey.objects.filter(token_hash=tokens.hash_token(token)).count() == 1
    again = client.post(url, {"confirmed": "yes"}, follow=True).content.decode()
    assert "rotated already" in again
    assert token not in again
    assert token not in "".join(entry.change_message for entry in LogEntry.objects.all())


def test_the_admin_refuses_who_may_only_look(client_of: Any, catalog: rows.Catalog) -> None:
    client: Client = client_of("viewers")
    url = f"/admin/access/relaykey/{catalog.relay_key.pk}/rotate/"
    assert client.post(url, {"confirmed": "yes"}).status_code == 403
    assert RelayKey.objects.count() == 1


def test_a_keys_life_through_the_api(token_of: Any, catalog: rows.Catalog) -> None:
    api, headers = Client(), token_of("operators")
    new = {"project": catalog.project.slug, "name": "api", "scopes": ["relay"], "allowedNetworks": ["2001:db8::/32"]}
    made = api.post(KEYS, new, JSON, headers=headers)
    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    body = made.json()
    address = f"{KEYS}/{body['id']}"
    assert tokens.parse(body.pop("token")).key_id == body["keyId"]
    assert api.get(address, headers=headers).json() == body
    assert (body["allowedNetworks"], body["expiresAt"], body["endsAt"]) == (["2001:db8::/32"], None, None)

    changed = api.patch(address, {"allowedNetworks": ["192.0.2.0/24"]}, JSON, headers=headers)
    assert changed.json() == {**body, "allowedNetworks": ["192.0.2.0/24"]}
    for wrong in ({"allowedNetworks": ["192.0.2.1/24"]}, {"mode": "test"}, {"scopes": ["all"]}, {"revokedAt": None}):
        assert api.patch(address, wrong, JSON, headers=headers).status_code == 400
    assert api.get(address, headers=headers).json() == changed.json()

    rotated = api.post(f"{address}/rotate", {"overlapSeconds": 60}, JSON, headers=headers)
    assert (rotated.status_code, rotated["Cache-Control"], rotated.json()["name"]) == (201, "no-store", "api-2")
    assert api.get(address, headers=headers).json()["successorId"] == rotated.json()["id"]
    assert api.post(f"{address}/rotate", {}, JSON, headers=headers).status_code == 400

    revoked = api.post(f"{address}/revoke", {}, JSON, headers=headers).json()["revokedAt"]
    assert revoked is not None
    assert api.post(f"{address}/revoke", {}, JSON, headers=headers).json()["revokedAt"] == revoked


def test_the_list_goes_on_where_it_ended(token_of: Any, catalog: rows.Catalog) -> None:
    api, headers = Client(), token_of("operators")
    second = services.relay_key_rotate(relay_key=catalog.relay_key).relay_key
    first_page = api.get(f"{KEYS}?limit=1&project={catalog.project.slug}", headers=headers).json()
    assert ([one["id"] for one in first_page["results"]], first_page["next"]) == ([second.pk], second.pk)
    last_page = api.get(f"{KEYS}?limit=1&after={second.pk}", headers=headers).json()
    assert ([one["id"] for one in last_page["results"]], last_page["next"]) == ([catalog.relay_key.pk], None)


def test_who_may_only_look_changes_nothing(token_of: Any, catalog: rows.Catalog) -> None:
    api, headers, address = Client(), token_of("viewers"), f"{KEYS}/{catalog.relay_key.pk}"
    new = {"project": catalog.project.slug, "name": "api", "scopes": ["relay"]}
    before = list(RelayKey.objects.values())
    answers = [
        api.post(KEYS, new, JSON, headers=headers),
        api.patch(address, {"name": "mine"}, JSON, headers=headers),
        api.post(f"{address}/rotate", {}, JSON, headers=headers),
        api.post(f"{address}/revoke", {}, JSON, headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [403] * 4
    assert list(RelayKey.objects.values()) == before


def test_a_user_pays_by_the_wallet_of_the_keys_mode(catalog: rows.Catalog) -> None:
    payer = rows.user("payer")
    payer.refresh_from_db()  # the database gave the wallets
    new = {"project": catalog.project, "scopes": ["inference"], "pays": "user"}
    with pytest.raises(ValidationError):
        services.relay_key_mint(**new, name="whose")
    for mode, wallet in (("live", payer.live_wallet_id), ("test", payer.test_wallet_id)):
        key = services.relay_key_mint(**new, name=mode, mode=mode, user=payer).relay_key
        assert key.wallet_id == wallet
        assert services.relay_key_rotate(relay_key=key).relay_key.wallet_id == wallet
        key.pays = "project"
        key.full_clean()
        assert key.wallet_id is None


@pytest.mark.parametrize("given", [{"pays": "user"}, {"userId": 1}, {"walletId": 100}])
def test_the_api_lets_nobody_spend_somebody_elses_wallet(
    given: dict[str, Any], token_of: Any, catalog: rows.Catalog
) -> None:
    address = f"{KEYS}/{catalog.relay_key.pk}"
    assert Client().patch(address, given, JSON, headers=token_of("operators")).status_code == 400


@pytest.mark.parametrize(
    ("budget", "is_taken"),
    [
        ({"microcredits": 0, "period": "day"}, True),
        ({"microcredits": 10**15, "period": "month"}, True),
        (None, True),
        ({"microcredits": -1, "period": "day"}, False),
        ({"microcredits": 10**15 + 1, "period": "day"}, False),
        ({"microcredits": 1.5, "period": "day"}, False),
        ({"microcredits": 2**63, "period": "day"}, False),
        ({"microcredits": 1, "period": "year"}, False),
        ({"microcredits": 1}, False),
        ({"microcredits": 1, "period": "day", "scope": "all"}, False),
        ("much", False),
    ],
)
def test_a_budget_is_an_amount_and_a_period(budget: Any, is_taken: bool, token_of: Any, catalog: rows.Catalog) -> None:
    address = f"{KEYS}/{catalog.relay_key.pk}"
    answer = Client().patch(address, {"budget": budget}, JSON, headers=token_of("operators"))
    assert answer.status_code == (200 if is_taken else 400)
    catalog.project.budget = budget
    if is_taken:
        assert answer.json()["budget"] == budget
        catalog.project.full_clean()
    else:
        with pytest.raises(ValidationError):
            catalog.project.full_clean()


def test_deliveries_are_never_a_users_to_pay(catalog: rows.Catalog) -> None:
    """Their charges are the project's, so a key that spends a user's wallet makes none."""
    user = rows.user("ada")
    new = {"project": catalog.project, "name": "own", "user": user, "pays": "user"}
    with pytest.raises(ValidationError, match="has no scope relay"):
        services.relay_key_mint(**new, scopes=["inference", "relay"])
    key = services.relay_key_mint(**new, scopes=["inference"]).relay_key
    with pytest.raises(IntegrityError, match="access_relaykey_deliveries"), transaction.atomic():
        RelayKey.objects.filter(pk=key.pk).update(scopes=["relay"])
