"""The admin against people who are signed in and type addresses by hand, and against what others sent us."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from relay_admin.access import services as access
from relay_admin.access.admin import MAX_REVOKED
from relay_admin.access.models import AdminToken, RelayKey, User
from relay_admin.catalog import services as catalog_services
from relay_admin.catalog.models import HostKey, Policy, Project, Target
from relay_admin.deliveries.models import ReplayBatch
from relay_admin.guard import save_editable
from relay_contract.intake import DeliveryState
from tests.admin import rows

LISTS = (
    "catalog/ratelimit",
    "catalog/policy",
    "catalog/project",
    "catalog/line",
    "catalog/endpoint",
    "catalog/target",
    "catalog/host",
    "catalog/hostkey",
    "catalog/model",
    "catalog/hostbinding",
    "catalog/pricing",
    "access/relaykey",
    "access/user",
    "access/admintoken",
    "auth/group",
    "deliveries/request",
    "deliveries/delivery",
    "deliveries/deaddelivery",
    "deliveries/attempt",
    "deliveries/replaybatch",
    "traffic/call",
)


@pytest.mark.parametrize(
    "address",
    [
        "catalog/target/?headers__x-secret__startswith=c",
        "catalog/target/?headers__icontains=canary",
        "catalog/target/?secrets__sealed_value__startswith=x",
        "catalog/hostkey/?sealed_value__gt=x",
        "access/relaykey/?token_hash__startswith=x",
        "access/relaykey/?created_by__password__startswith=pbkdf2",
        "access/relaykey/?user__password__startswith=pbkdf2",
        "catalog/hostkey/?reference__startswith=env",
        "catalog/model/?template__startswith=x",
        "deliveries/request/?headers__x-tenant__startswith=c",
        "deliveries/request/?payload__body__startswith=c",
        "deliveries/attempt/?response_body__startswith=c",
        "traffic/call/?tags__team__startswith=c",
        "traffic/call/?request_id__startswith=c",
        "deliveries/delivery/?request__headers__x-tenant__startswith=c",
    ],
)
def test_a_list_answers_no_questions_about_what_it_does_not_show(
    address: str, client_of, catalog: rows.Catalog
) -> None:
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    assert client_of("viewers").get(f"/admin/{address}").status_code == 400


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("catalog/target/?is_enabled__exact=1", True),
        ("catalog/target/?is_enabled__exact=0", False),
        ("catalog/target/?endpoint__line__project__id__exact={project}", True),
        ("access/relaykey/?mode__exact=live&key_state=active", True),
        ("access/relaykey/?key_state=revoked", False),
        ("deliveries/request/?received_at_from_0=2020-01-01&received_at_from_1=00:00:00&mode__exact=live", True),
        ("deliveries/deaddelivery/?reason=attempts_exhausted&project={project}&target={target}", True),
        ("deliveries/deaddelivery/?reason=target_gone", False),
        ("catalog/pricing/?origin=people&used=yes", True),
        ("catalog/pricing/?origin=seeded", False),
        ("catalog/pricing/?used=no", False),
        ("catalog/host/?has_keys=yes&origin=people", True),
        ("catalog/host/?has_keys=no", False),
        ("catalog/policy/?selection__exact=priority", True),
        ("access/relaykey/?captures_payloads__exact=1", False),
    ],
)
def test_the_filters_of_a_page_work(address: str, shown: bool, client_of, catalog: rows.Catalog) -> None:
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    address = address.format(project=catalog.project.pk, target=catalog.target.pk)
    page = client_of("viewers").get(f"/admin/{address}")
    assert page.status_code == 200
    assert (len(page.context["cl"].result_list) == 1) is shown


@pytest.mark.parametrize(
    "query",
    [
        "q=%00",
        "state=%00",
        "reason=%00",
        "mode__exact=%00",
        "outcome__exact=%00",
        "key_state=%00",
        f"project={'9' * 5000}",
        f"target={'9' * 5000}",
        f"project={'9' * 25}",
        "project=%D9%A1",
        "received_at_from_0=9999-12-31&received_at_from_1=x",
        "p=999999999999999999999",
        "p=-1",
        "o=99.-99.x",
        "_popup=1&_to_field=token_hash",
        "rate_limit__id__exact=x",
    ],
)
def test_no_address_breaks_a_list(query: str, client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("superuser")
    client.raise_request_exception = False
    got = {page: client.get(f"/admin/{page}/?{query}").status_code for page in LISTS}
    assert {page: status for page, status in got.items() if status >= 500} == {}


@pytest.mark.parametrize("action", ["delete_selected", "replay", "revoke", "to_template", "no_such_action"])
@pytest.mark.parametrize("selected", ["x", "1\0", "9" * 25, ""])
def test_no_selection_breaks_an_action(action: str, selected: str, client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("superuser")
    client.raise_request_exception = False
    data = {"action": action, "_selected_action": selected, "confirmed": "yes", "post": "yes"}
    got = {page: client.post(f"/admin/{page}/", data).status_code for page in LISTS}
    assert {page: status for page, status in got.items() if status >= 500} == {}
    assert (Project.objects.count(), ReplayBatch.objects.count()) == (1, 0)
    assert RelayKey.objects.get().revoked_at is None


def page_of(model: type) -> admin.ModelAdmin:
    return admin.site.get_model_admin(model)


def test_an_old_form_does_not_take_a_revocation_back(catalog: rows.Catalog) -> None:
    old = RelayKey.objects.get()
    access.relay_key_revoke(relay_key=RelayKey.objects.get())
    old.name = "renamed"
    page_of(RelayKey).save_model(None, old, None, change=True)
    kept = RelayKey.objects.get()
    assert (kept.name, kept.revoked_at is None) == ("renamed", False)


def test_an_old_form_does_not_bring_a_secret_back(catalog: rows.Catalog) -> None:
    target, host_key = Target.objects.get(), HostKey.objects.get()
    secret = catalog_services.target_signing_secret_rotate(target=Target.objects.get())
    catalog_services.host_key_set_value(host_key=HostKey.objects.get(), value="new-value")
    target.description = host_key.description = "edited"
    page_of(Target).save_model(None, target, None, change=True)
    save_editable(host_key)
    kept = Target.objects.get()
    assert (kept.description, catalog_services.target_signing_secret_reveal(target=kept)) == ("edited", secret)
    kept_key = HostKey.objects.get()
    assert (kept_key.description, kept_key.value_fingerprint) == ("edited", catalog_services.fingerprint("new-value"))
    assert kept_key.updated_at > kept_key.created_at + timedelta(0)


def test_who_may_only_add_targets_reads_no_header_of_others(client_of, catalog: rows.Catalog) -> None:
    adder = rows.user("adder", "viewers")
    adder.user_permissions.add(Permission.objects.get(codename="add_target"))
    client: Client = client_of("anonymous")
    client.force_login(adder)
    for page in (f"target/{catalog.target.pk}", f"endpoint/{catalog.endpoint.pk}"):
        answer = client.get(f"/admin/catalog/{page}/change/")
        assert answer.status_code == 200
        assert rows.HEADER_VALUE not in answer.content.decode()
    assert 'name="headers"' in client.get("/admin/catalog/target/add/").content.decode()


def test_take_me_back_leads_to_no_other_site(client_of, catalog: rows.Catalog) -> None:
    dead = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    client: Client = client_of("support")
    page = f"/admin/deliveries/deaddelivery/{dead.pk}/replay"
    own = "http://testserver/admin/deliveries/deaddelivery/"
    for referer, back in (("https://evil.test/", "."), ("javascript:alert(1)", "."), (own, own)):
        answer = client.get(page, headers={"referer": referer}, follow=True)
        assert answer.status_code == 200
        assert answer.context["back"] == back


NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e{{ 7|add:7 }}"


def test_nothing_that_others_wrote_becomes_markup(client_of, catalog: rows.Catalog) -> None:
    """Past every validator, as if each had failed: the pages must hold by themselves."""
    for model, columns in (
        (Project, {"slug": NASTY[:63], "name": NASTY, "description": NASTY}),
        (Target, {"name": NASTY[:63], "url": NASTY, "headers": {NASTY: NASTY}, "description": NASTY}),
        (HostKey, {"name": NASTY[:63], "value_env": NASTY[:128], "description": NASTY}),
        (Policy, {"models": [NASTY], "description": NASTY}),
        (RelayKey, {"name": NASTY}),
        (User, {"first_name": NASTY}),
    ):
        model.objects.update(**columns)
    AdminToken.objects.create(user=rows.user("bob"), name=NASTY, token_hash=b"1")
    request = rows.request_row(
        catalog,
        body=NASTY.encode(),
        caller_request_id=NASTY,
        content_type=NASTY,
        headers={NASTY: NASTY},
        received_at=timezone.now(),
    )
    dead = rows.delivery_row(request, catalog.target, DeliveryState.DEAD, last_error=NASTY[:64])
    dead.attempts.update(url=NASTY, error=NASTY[:64], response_body=NASTY.encode() + b"\0")
    ReplayBatch.objects.create(
        matched_count=1, replayed_count=0, filter={"ids": [NASTY]}, refused={NASTY: NASTY}, created_by=None
    )
    client: Client = client_of("superuser")
    pages = [f"/admin/{page}/" for page in LISTS]
    for model in (Project, Target, HostKey, Policy, RelayKey):
        page = model._meta.label_lower.replace(".", "/")
        pages += [f"/admin/{page}/{model.objects.get().pk}/{tail}/" for tail in ("change", "delete", "history")]
    pages += [f"/admin/deliveries/request/{request.pk}/change/", f"/admin/deliveries/delivery/{dead.pk}/change/"]
    pages += [f"/admin/deliveries/attempt/{dead.attempts.get().pk}/change/"]
    pages += [f"/admin/deliveries/replaybatch/{ReplayBatch.objects.get().pk}/change/", "/admin/"]
    pages += [f"/admin/catalog/{page}/add/" for page in ("endpoint", "target", "line")]
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == 200, page
        text = answer.content.decode()
        assert "<script>alert(1)" not in text, page
        assert "<img src=x" not in text, page
        assert "'><img" not in text, page
    for asked in (
        {"action": "replay", "_selected_action": str(dead.pk)},
        {"action": "delete_selected", "_selected_action": str(catalog.relay_key.pk)},
    ):
        page = "deliveries/deaddelivery" if asked["action"] == "replay" else "access/relaykey"
        text = client.post(f"/admin/{page}/", asked).content.decode()
        assert "alert(1)" in text
        assert "<script>alert(1)" not in text


def test_as_many_keys_are_revoked_at_once_as_the_page_says(client_of, catalog: rows.Catalog) -> None:
    RelayKey.objects.bulk_create(
        RelayKey(project=catalog.project, name=f"k{n}", key_id=f"k{n}", token_hash=b"%d" % n, scopes=["relay"])
        for n in range(MAX_REVOKED)
    )
    client: Client = client_of("operators")
    asked = {"action": "revoke", "_selected_action": str(catalog.relay_key.pk), "select_across": "1", "index": "0"}
    assert "Revoke at most 900 keys" in client.post("/admin/access/relaykey/", asked, follow=True).content.decode()
    catalog.relay_key.delete()
    page = client.post("/admin/access/relaykey/", asked | {"_selected_action": str(RelayKey.objects.first().pk)})
    fields: dict[str, list[str]] = {}
    for name, value in page.context["hidden"]:
        fields.setdefault(name, []).append(value)
    assert client.post("/admin/access/relaykey/", fields).status_code == 302
    assert RelayKey.objects.filter(revoked_at=None).count() == 0
