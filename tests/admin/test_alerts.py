"""Alert rules and events in the admin and the control API."""

from typing import Any

from django.test import Client

from relay_admin.deliveries.models import AlertEvent, AlertRule
from relay_contract.ids import uuid7
from tests.admin import rows
from tests.admin.test_pages import text_of

RULES = "/api/v1/alerts/rules"


def signed_in(name: str, **options: Any) -> Client:
    client = Client()
    client.force_login(rows.user(name, **options))
    return client


def test_a_rule_from_making_to_deleting(catalog: rows.Catalog) -> None:
    client = signed_in("root", is_superuser=True)
    given = {"kind": "backlog_age", "endpoint": catalog.endpoint.pk, "threshold": 60}
    made = client.post(RULES, given, content_type="application/json")
    assert made.status_code == 201, made.content
    rule = AlertRule.objects.get()
    assert made.json() == {
        "id": rule.pk, "kind": "backlog_age", "project": None, "targetId": None, "threshold": 60,
        "windowSeconds": 300, "remindSeconds": 3600, "endpoint": catalog.endpoint.pk, "isEnabled": True,
    }  # fmt: skip
    one = f"{RULES}/{rule.pk}"
    assert client.patch(one, {"isEnabled": False}, content_type="application/json").json()["isEnabled"] is False
    assert client.get(RULES).json() == {"items": [client.get(one).json()]}
    assert client.delete(one).status_code == 204
    assert (client.get(one).status_code, AlertRule.objects.count()) == (404, 0)


def test_rules_that_cannot_be(catalog: rows.Catalog) -> None:
    client = signed_in("root", is_superuser=True)
    for wrong in (
        {"windowSeconds": 0},
        {"threshold": -1},
        {"windowSeconds": 86_401},
        {"kind": "moon"},
        {"remindSeconds": 59},
        {"remindSeconds": -1},
        {"remindSeconds": 604_801},
        {"window": 60},
        {"id": 7},
    ):
        given = {"kind": "backlog_age", "endpoint": catalog.endpoint.pk} | wrong
        assert client.post(RULES, given, content_type="application/json").status_code == 400
    assert AlertRule.objects.count() == 0
    rule = AlertRule.objects.create(kind="target_gone", endpoint=catalog.endpoint)
    refused = client.patch(f"{RULES}/{rule.pk}", {"enabled": False}, content_type="application/json")
    assert (refused.status_code, "enabled" in refused.content.decode()) == (400, True)
    rule.refresh_from_db()
    assert rule.is_enabled is True


def test_events_and_who_may_see_them(catalog: rows.Catalog) -> None:
    rule = AlertRule.objects.create(kind="target_gone", endpoint=catalog.endpoint)
    event = AlertEvent.objects.create(rule=rule, subject="target:1", request_id=uuid7(), details={"target": "billing"})
    client = signed_in("viewer", group="viewers")
    [shown] = client.get("/api/v1/alerts/events?open=true").json()["items"]
    assert (shown["kind"], shown["subject"], shown["closedAt"]) == ("target_gone", "target:1", None)
    AlertEvent.objects.update(closed_at=event.opened_at)
    assert client.get("/api/v1/alerts/events?open=true").json() == {"items": []}
    assert len(client.get("/api/v1/alerts/events?open=false").json()["items"]) == 1
    assert [client.get(f"/api/v1/alerts/events?{query}").status_code for query in ("open=maybe", "opened=true")] == [
        400
    ] * 2
    refused = client.post(RULES, {"kind": "target_gone", "endpoint": catalog.endpoint.pk}, "application/json")
    assert (refused.status_code, AlertRule.objects.count()) == (403, 1)
    assert client.get(f"/admin/deliveries/alertevent/{event.pk}/change/").status_code == 200
    listed = text_of(client.get("/admin/deliveries/alertevent/").content)
    assert "billing resolved target_gone to" in listed
    assert client.get("/admin/deliveries/alertrule/").status_code == 200
