"""Discarding: what is in the failure queue leaves it for good, whatever else was chosen with it."""

from django.contrib.admin.models import LogEntry
from django.test import Client

from relay_admin.deliveries.models import Delivery
from relay_admin.deliveries.services import delivery_replay
from relay_contract.ids import uuid7
from relay_contract.intake import DeliveryState
from tests.admin import rows

JSON = "application/json"


def test_the_api_discards_what_is_dead_and_nothing_else(client: Client, token_of, catalog: rows.Catalog) -> None:
    request = rows.request_row(catalog)
    dead = rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    pending = rows.delivery_row(request, catalog.target, DeliveryState.PENDING)
    delivered = rows.delivery_row(request, catalog.target, DeliveryState.DELIVERED)
    before = [rows.delivery_columns(other.pk) for other in (pending, delivered)]
    died_of = rows.delivery_columns(dead.pk)
    header = token_of("support")
    url, body = "/api/v1/deliveries/discard", {"ids": [str(one.pk) for one in (dead, pending, delivered)]}
    body["ids"].append(str(uuid7()))

    answer = client.post(url, body, JSON, headers=header)
    assert (answer.status_code, answer.json()) == (200, {"discarded": [str(dead.pk)]})
    assert rows.delivery_columns(dead.pk) == died_of | {"state": "discarded"}
    assert [rows.delivery_columns(other.pk) for other in (pending, delivered)] == before
    assert [(entry.object_id, entry.change_message) for entry in LogEntry.objects.all()] == [
        (str(dead.pk), "Discarded.")
    ]
    assert client.post(url, body, JSON, headers=header).json() == {"discarded": []}
    assert delivery_replay(delivery_ids=[dead.pk], by=None).refused == {str(dead.pk): "not_dead"}


def test_the_failure_queue_asks_first(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    request = rows.request_row(catalog)
    dead = [rows.delivery_row(request, catalog.target, DeliveryState.DEAD) for _ in range(2)]
    form = {"action": "discard", "_selected_action": [str(one.pk) for one in dead]}

    asked = client.post("/admin/deliveries/deaddelivery/", form)
    assert "Take 2 selected deliveries out of the failure queue for good?" in asked.content.decode()
    assert set(Delivery.objects.values_list("state", flat=True)) == {"dead"}

    done = client.post("/admin/deliveries/deaddelivery/", {**form, "confirmed": "yes"}, follow=True)
    assert "2 of 2 selected deliveries were discarded." in done.content.decode()
    assert set(Delivery.objects.values_list("state", flat=True)) == {"discarded"}
