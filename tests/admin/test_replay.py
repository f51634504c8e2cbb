"""Replay: dead rows become due once, whatever else was chosen with them."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay_admin.deliveries.models import Delivery, Payload, ReplayBatch
from relay_admin.deliveries.services import MAX_REPLAY, delivery_replay
from relay_contract.ids import uuid7
from relay_contract.intake import DeliveryState
from tests.admin import rows


def test_a_dead_delivery_is_due_at_once(catalog: rows.Catalog) -> None:
    dead = rows.delivery_row(
        rows.request_row(catalog), catalog.target, DeliveryState.DEAD, attempt_count=9, replay_count=2
    )
    batch = delivery_replay(delivery_ids=[dead.pk], by=None)
    got = rows.delivery_columns(dead.pk)
    expected = {
        "state": "pending",
        "attempt_count": 0,
        "replay_count": 3,
        "dead_reason": "",
        "claim_id": None,
        "finished_at": None,
    }
    assert {name: got[name] for name in expected} == expected
    assert got["next_attempt_at"] <= timezone.now()
    assert (batch.matched_count, batch.replayed_count, batch.refused) == (1, 1, {})
    assert batch.delivery_ids == [str(dead.pk)]


def test_what_is_not_dead_or_cannot_be_sent_is_refused_unchanged(catalog: rows.Catalog) -> None:
    request = rows.request_row(catalog)
    dead = rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    pending = rows.delivery_row(request, catalog.target, DeliveryState.PENDING)
    sending = rows.delivery_row(request, catalog.target, DeliveryState.SENDING, claim_id=uuid7())
    delivered = rows.delivery_row(request, catalog.target, DeliveryState.DELIVERED)
    expired = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    Payload.objects.filter(request=expired.request).delete()
    orphan = rows.delivery_row(request, catalog.target, DeliveryState.DEAD, target_id=987_654)
    unknown = uuid7()
    others = (pending, sending, delivered, expired, orphan)
    before = [rows.delivery_columns(other.pk) for other in others]

    chosen = [dead.pk, dead.pk, *(other.pk for other in others), unknown]
    batch = delivery_replay(delivery_ids=chosen, by=None)

    assert [rows.delivery_columns(other.pk) for other in others] == before
    assert (batch.matched_count, batch.replayed_count) == (7, 1)
    assert batch.refused == {
        str(pending.pk): "not_dead",
        str(sending.pk): "not_dead",
        str(delivered.pk): "not_dead",
        str(expired.pk): "payload_expired",
        str(orphan.pk): "target_deleted",
        str(unknown): "not_found",
    }


def test_replaying_twice_is_replaying_once(catalog: rows.Catalog) -> None:
    dead = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    assert delivery_replay(delivery_ids=[dead.pk], by=None).replayed_count == 1
    first = rows.delivery_columns(dead.pk)
    assert delivery_replay(delivery_ids=[dead.pk], by=None).refused == {str(dead.pk): "not_dead"}
    assert rows.delivery_columns(dead.pk) == first


@pytest.mark.parametrize("count", [0, MAX_REPLAY + 1])
def test_a_batch_has_a_size(count: int, db: None) -> None:
    with pytest.raises(ValidationError):
        delivery_replay(delivery_ids=[uuid7() for _ in range(count)], by=None)
    assert ReplayBatch.objects.count() == 0


def test_a_replay_costs_the_same_for_many_rows(catalog: rows.Catalog) -> None:
    request = rows.request_row(catalog)
    dead = [rows.delivery_row(request, catalog.target, DeliveryState.DEAD).pk for _ in range(30)]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        delivery_replay(delivery_ids=dead, by=None)
    statements = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert len(statements) == 5  # the preview, the batch, whether purses are asked, the step, the batch's counts
    assert Delivery.objects.filter(state="pending").count() == 30


def test_a_live_delivery_without_a_due_time_cannot_exist(catalog: rows.Catalog) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.PENDING, next_attempt_at=None)


def test_support_asks_and_replays_on_the_page(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    request = rows.request_row(catalog)
    dead = [rows.delivery_row(request, catalog.target, DeliveryState.DEAD) for _ in range(2)]
    form = {"action": "replay", "_selected_action": [str(one.pk) for one in dead]}

    asked = client.post("/admin/deliveries/deaddelivery/", form)
    assert asked.status_code == 200
    assert "Send these 2 deliveries again?" in asked.content.decode()
    assert set(Delivery.objects.values_list("state", flat=True)) == {"dead"}

    done = client.post("/admin/deliveries/deaddelivery/", {**form, "confirmed": "yes"}, follow=True)
    batch = ReplayBatch.objects.get()
    text = done.content.decode()
    assert "2 deliveries are due again." in text
    assert f"/admin/deliveries/replaybatch/{batch.pk}/change/" in text
    assert set(Delivery.objects.values_list("state", flat=True)) == {"pending"}
    assert batch.created_by is not None
    assert batch.created_by.username == "support-member"
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Started: 2 deliveries for 0.00 credits."]

    again = client.post("/admin/deliveries/delivery/", {**form, "confirmed": "yes"}, follow=True)
    assert "0 deliveries are due again. 2 stayed as they were" in again.content.decode()
    page = client.get(f"/admin/deliveries/replaybatch/{ReplayBatch.objects.latest('id').pk}/change/")
    assert "it is not in the failure queue any more" in page.content.decode()


def test_support_replays_from_a_delivery_s_own_page(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    request = rows.request_row(catalog)
    dead = rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    done = rows.delivery_row(request, catalog.target, DeliveryState.DELIVERED)
    url = f"/admin/deliveries/delivery/{dead.pk}/"
    assert f"{url}replay/" in client.get(f"{url}change/").content.decode()
    assert "Send this delivery again?" in client.get(f"{url}replay/").content.decode()
    assert rows.delivery_columns(dead.pk)["state"] == "dead"
    assert (
        "1 delivery is due again." in client.post(f"{url}replay/", {"confirmed": "yes"}, follow=True).content.decode()
    )
    assert rows.delivery_columns(dead.pk)["state"] == "pending"
    for gone in (dead, done):
        assert client.post(f"/admin/deliveries/delivery/{gone.pk}/replay/", {"confirmed": "yes"}).status_code == 403
        assert "/replay/" not in client.get(f"/admin/deliveries/delivery/{gone.pk}/change/").content.decode()
    assert client_of("viewers").get(f"{url}replay/").status_code == 403
    assert ReplayBatch.objects.count() == 1


def test_pages_survive_what_was_deleted(client_of, catalog: rows.Catalog) -> None:
    """History keeps its rows when its target, endpoint, key and project are gone, and so do the lists."""
    request = rows.request_row(catalog)
    dead = rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    catalog.project.delete()
    client: Client = client_of("support")
    for page in ("request", "delivery", "deaddelivery"):
        assert str(request.pk) in client.get(f"/admin/deliveries/{page}/").content.decode(), page
    for page in (f"request/{request.pk}", f"delivery/{dead.pk}", f"deaddelivery/{dead.pk}"):
        answer = client.get(f"/admin/deliveries/{page}/change/")
        assert answer.status_code == 200
        assert "(deleted" in answer.content.decode()


def test_the_failure_queue_is_found_by_filter_and_search(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    one = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    other = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD, dead_reason="target_gone")
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED)

    def listed(query: str) -> set[str]:
        text = client.get(f"/admin/deliveries/deaddelivery/?{query}").content.decode()
        return {str(row.request_id) for row in Delivery.objects.all() if str(row.request_id) in text}

    both = {str(one.request_id), str(other.request_id)}
    assert listed("") == both
    assert listed("reason=target_gone") == {str(other.request_id)}
    assert listed(f"project={catalog.project.pk}") == both
    assert listed(f"project={catalog.project.pk + 1}") == set()
    assert listed(f"target={catalog.target.pk}") == both
    assert listed(f"q={one.request_id}") == {str(one.request_id)}
    assert listed(f"q={other.pk}") == {str(other.request_id)}
    assert listed("q=not-an-id") == set()


def test_the_request_log_is_searched_by_either_id(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    one = rows.request_row(catalog, caller_request_id="caller-1")
    other = rows.request_row(catalog, received_at=timezone.now() - timedelta(days=1))

    def listed(query: str) -> set[str]:
        text = client.get(f"/admin/deliveries/request/?q={query}").content.decode()
        return {str(row.pk) for row in (one, other) if str(row.pk) in text}

    assert listed("") == {str(one.pk), str(other.pk)}
    assert listed("caller-1") == {str(one.pk)}
    assert listed(str(other.pk)) == {str(other.pk)}
    assert listed("caller") == set()
    assert listed("%00") == {str(one.pk), str(other.pk)}


def test_big_tables_are_never_counted(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED)
    for page in ("request", "delivery", "attempt"):
        with CaptureQueriesContext(connection) as queries:
            assert client.get(f"/admin/deliveries/{page}/").status_code == 200
        counts = [query["sql"] for query in queries if "COUNT(*)" in query["sql"] and "LIMIT" not in query["sql"]]
        assert counts == []
