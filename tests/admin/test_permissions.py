"""Who sees which page, and what a refused action leaves: everything as it was."""

import pytest
from django.test import Client

from relay_admin.access.models import RelayKey
from relay_admin.catalog.models import HostKey, Project, TargetSecret
from relay_admin.deliveries.models import ReplayBatch
from relay_contract.intake import DeliveryState
from tests.admin import rows

WHO = ("anonymous", "viewers", "support", "operators", "superuser")
CATALOG_PAGES = (
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
)
TRAFFIC_PAGES = (
    "deliveries/request",
    "deliveries/delivery",
    "deliveries/deaddelivery",
    "deliveries/attempt",
    "deliveries/replaybatch",
    "traffic/call",
)
ACCOUNTS = ("ledger/account", "ledger/topup", "ledger/invoice")
OPERATOR_PAGES = ("access/auditevent",)
SUPERUSER_PAGES = ("access/user", "access/admintoken", "auth/group")

READ = {
    **dict.fromkeys(CATALOG_PAGES, (302, 200, 403, 200, 200)),
    **dict.fromkeys((*TRAFFIC_PAGES, *ACCOUNTS), (302, 200, 200, 200, 200)),
    **dict.fromkeys(OPERATOR_PAGES, (302, 403, 403, 200, 200)),
    **dict.fromkeys(SUPERUSER_PAGES, (302, 403, 403, 403, 200)),
    "access/session": (302, 403, 403, 200, 200),
    "access/invitation": (302, 403, 403, 200, 200),
    "ledger/creditcode": (302, 200, 200, 200, 200),
}
ADD = {
    **dict.fromkeys(CATALOG_PAGES, (302, 403, 403, 200, 200)),
    **dict.fromkeys((*TRAFFIC_PAGES, *ACCOUNTS, *OPERATOR_PAGES), (302, 403, 403, 403, 403)),
    **dict.fromkeys(SUPERUSER_PAGES, (302, 403, 403, 403, 200)),
    "access/session": (302, 403, 403, 403, 403),
    "access/invitation": (302, 403, 403, 200, 200),
    "ledger/creditcode": (302, 403, 403, 200, 200),
}


@pytest.mark.parametrize("who", WHO)
def test_lists_and_add_pages(who: str, client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of(who)
    place = WHO.index(who)
    got = {page: client.get(f"/admin/{page}/").status_code for page in READ}
    assert got == {page: expected[place] for page, expected in READ.items()}
    got = {page: client.get(f"/admin/{page}/add/").status_code for page in ADD}
    assert got == {page: expected[place] for page, expected in ADD.items()}


@pytest.mark.parametrize(("who", "expected"), list(zip(WHO, (302, 200, 403, 200, 200), strict=True)))
def test_change_pages_of_the_catalog(who: str, expected: int, client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of(who)
    objects = {
        "catalog/ratelimit": catalog.rate_limit,
        "catalog/policy": catalog.policy,
        "catalog/project": catalog.project,
        "catalog/line": catalog.line,
        "catalog/endpoint": catalog.endpoint,
        "catalog/target": catalog.target,
        "catalog/host": catalog.host,
        "catalog/hostkey": catalog.host_key,
        "catalog/model": catalog.model,
        "catalog/hostbinding": catalog.binding,
        "catalog/pricing": catalog.pricing,
        "access/relaykey": catalog.relay_key,
    }
    got = {page: client.get(f"/admin/{page}/{row.pk}/change/").status_code for page, row in objects.items()}
    assert got == dict.fromkeys(objects, expected)


@pytest.mark.parametrize("who", ["anonymous", "viewers", "support"])
def test_who_may_not_change_the_catalog_changes_nothing(who: str, client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of(who)
    refused = 302 if who == "anonymous" else 403
    tries = {
        f"/admin/catalog/project/{catalog.project.pk}/change/": {"slug": "taken", "name": "Taken"},
        f"/admin/catalog/project/{catalog.project.pk}/delete/": {"post": "yes"},
        "/admin/catalog/project/add/": {"slug": "new", "name": "New"},
        f"/admin/catalog/hostkey/{catalog.host_key.pk}/change/": {"name": "main", "value": "other"},
        f"/admin/catalog/target/{catalog.target.pk}/signing-secret/": {"do": "rotate"},
    }
    sealed = bytes(TargetSecret.objects.get().sealed_value)
    assert {url: client.post(url, data).status_code for url, data in tries.items()} == dict.fromkeys(tries, refused)
    client.post(
        "/admin/access/relaykey/",
        {"action": "revoke", "_selected_action": catalog.relay_key.pk, "confirmed": "yes"},
    )
    assert list(Project.objects.values_list("slug", "name")) == [("shop", "Shop")]
    assert bytes(HostKey.objects.get().sealed_value) == bytes(catalog.host_key.sealed_value)
    assert bytes(TargetSecret.objects.get().sealed_value) == sealed
    assert RelayKey.objects.get().revoked_at is None


@pytest.mark.parametrize(
    ("who", "state"),
    [("anonymous", "dead"), ("viewers", "dead"), ("support", "pending"), ("operators", "pending")],
)
def test_who_may_replay(who: str, state: str, client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of(who)
    dead = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    client.post(
        "/admin/deliveries/deaddelivery/",
        {"action": "replay", "_selected_action": str(dead.pk), "confirmed": "yes"},
    )
    dead.refresh_from_db()
    assert dead.state == state
    assert ReplayBatch.objects.count() == (1 if state == "pending" else 0)


def test_a_user_with_the_replay_right_alone_sees_no_page(client_of, db: None) -> None:
    client: Client = client_of("anonymous")
    client.force_login(rows.user("nobody"))
    got = {page: client.get(f"/admin/{page}/").status_code for page in (*CATALOG_PAGES, *TRAFFIC_PAGES)}
    assert got == dict.fromkeys(got, 403)


def test_viewers_read_no_bodies_and_no_header_values(client_of, catalog: rows.Catalog) -> None:
    request = rows.request_row(catalog)
    rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    pages = (f"/admin/deliveries/request/{request.pk}/change/", f"/admin/catalog/target/{catalog.target.pk}/change/",
             f"/admin/catalog/endpoint/{catalog.endpoint.pk}/change/")  # fmt: skip
    viewer = client_of("viewers")
    seen = "".join(viewer.get(page).content.decode() for page in pages)
    for canary in ("canary-body", "canary-answer", "canary-request-header", rows.HEADER_VALUE):
        assert canary not in seen
    operator = client_of("operators")
    seen = "".join(operator.get(page).content.decode() for page in pages)
    for canary in ("canary-body", "canary-answer", "canary-request-header", rows.HEADER_VALUE):
        assert canary in seen
    assert "<script>alert(1)" not in seen
    assert "<b>bold" not in seen
