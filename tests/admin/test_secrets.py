"""A secret goes in, or comes out once. It is on no other page, in no history, session or message."""

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client

from relay_admin.access.models import AdminToken, RelayKey, Session
from relay_admin.access.sessions import SessionStore
from relay_admin.catalog import services
from relay_admin.catalog.models import HostKey, Target, TargetSecret
from relay_contract import nouns, tokens
from relay_contract.intake import DeliveryState
from relay_contract.sealing import SealingError
from tests.admin import rows


def every_page(client: Client, catalog: rows.Catalog) -> str:
    """The text of every list, form and history of the admin."""
    request = rows.request_row(catalog)
    dead = rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    objects = {
        "catalog/ratelimit": catalog.rate_limit.pk,
        "catalog/policy": catalog.policy.pk,
        "catalog/project": catalog.project.pk,
        "catalog/line": catalog.line.pk,
        "catalog/endpoint": catalog.endpoint.pk,
        "catalog/target": catalog.target.pk,
        "catalog/host": catalog.host.pk,
        "catalog/hostkey": catalog.host_key.pk,
        "catalog/model": catalog.model.pk,
        "catalog/hostbinding": catalog.binding.pk,
        "access/relaykey": catalog.relay_key.pk,
        "deliveries/request": request.pk,
        "deliveries/delivery": dead.pk,
        "deliveries/deaddelivery": dead.pk,
    }
    pages = ["/admin/", f"/admin/catalog/target/{catalog.target.pk}/signing-secret/"]
    for page, key in objects.items():
        pages += [f"/admin/{page}/", f"/admin/{page}/{key}/change/", f"/admin/{page}/{key}/history/"]
    answers = [client.get(page) for page in pages]
    assert {answer.status_code for answer in answers} == {200}
    return "".join(answer.content.decode() for answer in answers)


def test_no_page_shows_a_secret(client_of, catalog: rows.Catalog) -> None:
    seen = every_page(client_of("superuser"), catalog)
    sealed = (catalog.host_key.sealed_value, catalog.target.secrets.get().sealed_value, catalog.relay_key.token_hash)
    for secret in (rows.HOST_KEY_VALUE, rows.SIGNING_SECRET, catalog.token, *(bytes(one).hex() for one in sealed)):
        assert secret not in seen
    assert catalog.host_key.value_fingerprint in seen
    assert catalog.relay_key.key_id in seen


def test_a_secret_opens_in_its_own_row_only(catalog: rows.Catalog) -> None:
    sealed = HostKey.objects.get().sealed_value
    assert services.sealer().unseal(sealed, nouns.host_key_binding(catalog.host_key.pk)) == rows.HOST_KEY_VALUE
    with pytest.raises(SealingError):
        services.sealer().unseal(sealed, nouns.host_key_binding(catalog.host_key.pk + 1))
    assert services.target_signing_secret_reveal(target=Target.objects.get()) == rows.SIGNING_SECRET


@pytest.mark.parametrize("value", ["", "two words", "line\nbreak", "naïve", "x" * 4097])
def test_a_host_key_that_no_vendor_issues_is_refused(value: str, catalog: rows.Catalog) -> None:
    with pytest.raises(ValidationError):
        services.host_key_create(host=catalog.host, name="second", value=value)
    assert HostKey.objects.count() == 1


def test_a_host_key_is_added_and_replaced_by_form(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    form = {
        "host": catalog.host.pk,
        "name": "second",
        "is_enabled": "on",
        "value": " canary-typed-value ",
        "description": "",
    }
    answer = client.post("/admin/catalog/hostkey/add/", form, follow=True)
    assert answer.status_code == 200
    key = HostKey.objects.get(name="second")
    binding = nouns.host_key_binding(key.pk)
    assert services.sealer().unseal(key.sealed_value, binding) == "canary-typed-value"
    assert key.value_fingerprint == services.fingerprint("canary-typed-value")

    url = f"/admin/catalog/hostkey/{key.pk}/change/"
    client.post(url, {**form, "value": "", "description": "kept"})
    key.refresh_from_db()
    assert (services.sealer().unseal(key.sealed_value, binding), key.description) == ("canary-typed-value", "kept")

    client.post(url, {**form, "value": "canary-second-value"})
    key.refresh_from_db()
    assert services.sealer().unseal(key.sealed_value, binding) == "canary-second-value"

    refused = client.post(url, {**form, "value": "canary with spaces"})
    assert refused.status_code == 200
    key.refresh_from_db()
    assert services.sealer().unseal(key.sealed_value, binding) == "canary-second-value"
    seen = answer.content.decode() + refused.content.decode() + client.get(url).content.decode()
    logged = "".join(f"{entry.object_repr}{entry.change_message}" for entry in LogEntry.objects.all())
    assert "canary-" not in seen.replace("canary-header-value", "")
    assert "canary-" not in logged
    assert LogEntry.objects.count() == 3


def mint_form(catalog: rows.Catalog, **fields: object) -> dict[str, object]:
    form = {"project": catalog.project.pk, "name": "fresh", "mode": "test", "scopes": ["relay"], "policy": "",
            "pays": "project", "rate_limit": "", "expires_at_0": "", "expires_at_1": ""}  # fmt: skip
    return {**form, **fields}


def test_a_relay_key_is_shown_once(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    answer = client.post("/admin/access/relaykey/add/", mint_form(catalog))
    assert answer.status_code == 200
    assert answer["Cache-Control"].startswith("no-store")
    (token,) = set(re.findall(r"rk_test_[0-9A-Za-z]{50}", answer.content.decode()))
    key = RelayKey.objects.get(name="fresh")
    assert bytes(key.token_hash) == tokens.hash_token(token)
    assert (key.key_id, key.mode, key.scopes) == (tokens.parse(token).key_id, "test", ["relay"])
    assert key.created_by.username == "operators-member"

    after = client.get("/admin/access/relaykey/").content.decode()
    after += client.get(f"/admin/access/relaykey/{key.pk}/change/").content.decode()
    after += client.get(f"/admin/access/relaykey/{key.pk}/history/").content.decode()
    after += client.get("/admin/").content.decode()
    assert token not in after
    assert token not in "".join(str(SessionStore().decode(session.data)) for session in Session.objects.all())
    assert token not in "".join(f"{entry.object_repr}{entry.change_message}" for entry in LogEntry.objects.all())
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(k::text, '') FROM access_relaykey k")
        assert token not in cursor.fetchone()[0]


def test_the_same_form_again_mints_nothing(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    client.post("/admin/access/relaykey/add/", mint_form(catalog))
    again = client.post("/admin/access/relaykey/add/", mint_form(catalog))
    assert "already exists" in again.content.decode()
    assert "rk_test_" not in again.content.decode()
    assert RelayKey.objects.count() == 2


def test_a_key_keeps_its_project_and_mode(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    form = mint_form(catalog, name="app", scopes=["inference"], mode="test", project="999")
    client.post(f"/admin/access/relaykey/{catalog.relay_key.pk}/change/", form)
    key = RelayKey.objects.get()
    assert (key.project_id, key.mode, key.scopes) == (catalog.project.pk, "live", ["inference"])
    assert bytes(key.token_hash) == tokens.hash_token(catalog.token)


def test_revoking_asks_first_and_is_for_good(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    form = {"action": "revoke", "_selected_action": catalog.relay_key.pk}
    assert "Revoke this key?" in client.post("/admin/access/relaykey/", form).content.decode()
    assert RelayKey.objects.get().revoked_at is None
    done = client.post("/admin/access/relaykey/", {**form, "confirmed": "yes"}, follow=True)
    assert "1 relay key is revoked." in done.content.decode()
    revoked_at = RelayKey.objects.get().revoked_at
    assert revoked_at is not None
    client.post("/admin/access/relaykey/", {**form, "confirmed": "yes"}, follow=True)
    assert RelayKey.objects.get().revoked_at == revoked_at


def test_a_signing_secret_is_revealed_by_post_and_logged(client_of, catalog: rows.Catalog) -> None:
    url = f"/admin/catalog/target/{catalog.target.pk}/signing-secret/"
    client: Client = client_of("operators")
    assert rows.SIGNING_SECRET not in client.get(url).content.decode()
    shown = client.post(url, {"do": "reveal"})
    assert rows.SIGNING_SECRET in shown.content.decode()
    assert shown["Cache-Control"].startswith("no-store")
    replaced = client.post(url, {"do": "rotate"}).content.decode()
    (fresh,) = set(re.findall(r"whsec_[0-9A-Za-z+/=]+", replaced))
    assert fresh != rows.SIGNING_SECRET
    assert services.target_signing_secret_reveal(target=Target.objects.get()) == fresh
    assert client.post(url, {"do": "other"}).status_code == 403
    said = list(LogEntry.objects.order_by("id").values_list("change_message", flat=True))
    first = TargetSecret.objects.order_by("pk")[0]
    assert said == [
        f"Revealed signing secret {first.pk}.",
        "Rotated the v1 signing secret; the old one signs for 86400 s.",
    ]
    assert client_of("viewers").post(url, {"do": "reveal"}).status_code == 403


def test_a_signing_secret_that_does_not_open_is_said_and_can_be_replaced(client_of, catalog: rows.Catalog) -> None:
    TargetSecret.objects.update(sealed_value=b"not sealed")
    client: Client = client_of("operators")
    url = f"/admin/catalog/target/{catalog.target.pk}/signing-secret/"
    answer = client.post(url, {"do": "reveal"})
    assert answer.status_code == 409
    assert "Replace by a new secret" in answer.content.decode()
    assert client.post(url, {"do": "replace"}).status_code == 200
    assert services.target_signing_secret_reveal(target=Target.objects.get()).startswith("whsec_")
    assert TargetSecret.objects.count() == 1


def test_an_admin_token_is_shown_once(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("superuser")
    owner = rows.user("owner")
    form = {"user": owner.pk, "name": "ci", "scopes": ["control"], "expires_at_0": "", "expires_at_1": ""}
    answer = client.post("/admin/access/admintoken/add/", form)
    (token,) = set(re.findall(r"ra_[0-9A-Za-z]{50}", answer.content.decode()))
    assert bytes(AdminToken.objects.get().token_hash) == tokens.hash_token(token)
    assert token not in client.get("/admin/access/admintoken/").content.decode()
