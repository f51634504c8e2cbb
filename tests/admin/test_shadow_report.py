"""The shadow report, as a page and from the control API."""

from datetime import timedelta
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from relay_admin.catalog import services
from relay_admin.catalog.models import Target
from relay_admin.deliveries.models import Comparison
from relay_admin.deliveries.shadow_report import Statuses, Times, report, since_of
from relay_contract.ids import uuid7, uuid7_shifted
from tests.admin import rows

HOUR_MS = 3_600_000


@pytest.fixture
def shadow(catalog: rows.Catalog) -> Target:
    return services.target_create(
        endpoint=catalog.endpoint,
        name="copy",
        url="http://127.0.0.1:9/",
        role="shadow",
        compares_with=catalog.target.name,
    )


def compared(shadow: Target, verdict: str, *, age_hours: int = 0, **columns: object) -> UUID:
    delivery_id = uuid7_shifted(uuid7(), -age_hours * HOUR_MS)
    values = {
        "request_id": uuid7(), "baseline_target_id": 1, "revision": 1, "at": timezone.now(), "status": 200,
        "baseline_status": 200, "duration_ms": 20, "baseline_duration_ms": 10, "differences": [],
    }  # fmt: skip
    Comparison.objects.create(delivery_id=delivery_id, target_id=shadow.pk, verdict=verdict, **(values | columns))
    return delivery_id


def test_what_a_window_holds(shadow: Target) -> None:
    for number in range(3):
        compared(shadow, "same", duration_ms=20 + number)
    difference = {"path": "a.b", "baseline": "1", "shadow": None}
    body = compared(shadow, "body", differences=[difference, {**difference, "path": "<script>"}])
    away = compared(shadow, "no_answer", status=None, duration_ms=None)
    compared(shadow, "both", age_hours=30)
    found = report(shadow.pk, since_of(None))
    assert (found.compared, found.is_partial) == (5, False)
    assert found.verdicts == {"same": 3, "status": 0, "body": 1, "both": 0, "no_answer": 1, "not_json": 0}
    assert found.statuses == [Statuses(200, 200, 4), Statuses(200, None, 1)]
    assert (found.baseline_times, found.shadow_times) == (Times(10, 10), Times(20, 22))
    assert found.paths == [("<script>", 1), ("a.b", 1)]
    assert [row.delivery_id for row in found.newest] == [away, body]


def test_a_window_is_bounded() -> None:
    now = timezone.now()
    assert since_of(now - timedelta(days=400)) > now - timedelta(days=7, minutes=1)
    assert since_of(now - timedelta(hours=2)) == now - timedelta(hours=2)


def test_the_page(client_of, shadow: Target) -> None:
    compared(shadow, "body", differences=[{"path": "<script>", "baseline": "1", "shadow": None}])
    compared(shadow, "same", age_hours=30)
    client: Client = client_of("support")
    page = client.get("/admin/shadows/").content.decode()  # the only shadow there is
    assert "1 pair compared, 0 the same" in page
    assert "&lt;script&gt;" in page
    assert "<script>:" not in page
    page = client.get("/admin/shadows/", {"target": shadow.pk, "hours": "168"}).content.decode()
    assert "2 pairs compared, 1 the same" in page
    assert client.get("/admin/shadows/", {"target": "x", "hours": "5"}).status_code == 200


def test_a_page_without_shadows_says_what_to_do(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    assert "No shadow is compared" in client.get("/admin/shadows/").content.decode()


def test_who_may_not_see_deliveries_sees_no_report(shadow: Target, client: Client) -> None:
    client.force_login(rows.user("nobody"))
    assert client.get("/admin/shadows/").status_code == 403
    assert client.get(f"/api/v1/shadows/{shadow.pk}/report").status_code in (401, 403)


def test_the_api(client_of, catalog: rows.Catalog, shadow: Target) -> None:
    delivery = compared(shadow, "status", status=503)
    client: Client = client_of("support")
    answer = client.get(f"/api/v1/shadows/{shadow.pk}/report")
    assert answer.status_code == 200
    document = answer.json()
    assert document["target"] == {"id": shadow.pk, "name": "copy", "comparesWith": catalog.target.name}
    assert (document["compared"], document["verdicts"]["status"]) == (1, 1)
    assert document["statuses"] == [{"baseline": 200, "shadow": 503, "count": 1}]
    assert document["durationMs"] == {"baseline": {"p50": 10, "p95": 10}, "shadow": {"p50": 20, "p95": 20}}
    [newest] = document["newest"]
    assert (newest["deliveryId"], newest["baselineStatus"]) == (str(delivery), 200)
    assert client.get(f"/api/v1/shadows/{catalog.target.pk}/report").status_code == 404
    assert client.get(f"/api/v1/shadows/{shadow.pk}/report?since=yesterday").status_code == 400
