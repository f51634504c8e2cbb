"""Disabling a target and enabling it again: what becomes of the deliveries kept back for it."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone

from relay_admin.catalog import services
from relay_admin.catalog.models import Target
from relay_admin.deliveries import target_services
from relay_admin.deliveries.models import Delivery, TargetState
from relay_admin.deliveries.target_services import Enabled, held_count, target_disable, target_enable
from relay_admin.ledger.models import Charge
from relay_contract.intake import DeliveryState
from tests.admin import rows
from tests.admin.test_control_api import JSON

LONG = timedelta(days=2)


def held(catalog: rows.Catalog, state: DeliveryState = DeliveryState.HELD, **columns: Any) -> Delivery:
    since = {"next_attempt_at": timezone.now() - LONG}
    return rows.delivery_row(rows.request_row(catalog), catalog.target, state, **since, **columns)


def switched_off(catalog: rows.Catalog) -> Target:
    target_disable(target=catalog.target, by=None)
    TargetState.objects.create(target_id=catalog.target.pk, breaker="open", failing_since=timezone.now() - LONG)
    return catalog.target


def test_released_deliveries_are_due_and_get_their_time_back(
    catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_services, "BATCH", 1)  # the loop goes on while batches are full
    target = switched_off(catalog)
    deliveries = [held(catalog), held(catalog)]
    waiting = held(catalog, DeliveryState.WAITING)
    assert held_count(target=target) == 3
    assert target_enable(target=target, held="release", by=None) == Enabled(released=2, discarded=0)
    assert target.is_enabled
    for before in deliveries:
        after = Delivery.objects.get(pk=before.pk)
        assert after.state == "pending"
        assert after.next_attempt_at <= timezone.now()
        assert after.expires_at - before.expires_at > LONG - timedelta(minutes=1)
    assert Delivery.objects.get(pk=waiting.pk).state == "waiting"  # the workers let it in
    state = TargetState.objects.get()
    assert (state.breaker, state.failing_since) == ("closed", None)


def test_what_waits_when_a_target_is_disabled_is_held_from_then_on(
    catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_services, "BATCH", 1)
    waiting = [held(catalog, DeliveryState.WAITING), held(catalog, DeliveryState.WAITING)]
    sending = held(catalog, DeliveryState.SENDING)
    target_disable(target=catalog.target, by=None)
    for before in waiting:
        after = Delivery.objects.get(pk=before.pk)
        assert after.state == "held"
        assert timezone.now() - after.next_attempt_at < timedelta(minutes=1)
    assert (held_count(target=catalog.target), Delivery.objects.get(pk=sending.pk).state) == (2, "sending")
    assert target_enable(target=catalog.target, held="release", by=None) == Enabled(released=2, discarded=0)
    assert {Delivery.objects.get(pk=each.pk).state for each in waiting} == {"pending"}


def test_discarded_deliveries_cost_nothing(catalog: rows.Catalog) -> None:
    target = switched_off(catalog)
    deliveries = [held(catalog), held(catalog, DeliveryState.WAITING, was_contacted=True)]
    sending = held(catalog, DeliveryState.SENDING)
    assert target_enable(target=target, held="discard", by=None) == Enabled(released=0, discarded=2)
    for before in deliveries:
        after = Delivery.objects.get(pk=before.pk)
        assert (after.state, after.dead_reason) == ("discarded", "discarded_by_operator")
        assert after.finished_at is not None
        closes = Charge.objects.filter(delivery_id=after.pk, phase=1)
        assert [close.kind for close in closes] == ["release"]
    assert Delivery.objects.get(pk=sending.pk).state == "sending"


def test_a_target_that_was_gone_is_a_target_again(catalog: rows.Catalog) -> None:
    Target.objects.update(is_enabled=False, gone_at=timezone.now(), disabled_reason="gone")
    target_enable(target=catalog.target, held="release", by=None)
    catalog.target.refresh_from_db()
    assert (catalog.target.is_enabled, catalog.target.gone_at, catalog.target.disabled_reason) == (True, None, "")


def test_what_becomes_of_the_held_has_to_be_said(catalog: rows.Catalog) -> None:
    with pytest.raises(ValidationError, match="release or discard"):
        target_enable(target=catalog.target, held="", by=None)  # type: ignore[arg-type]


def test_a_second_target_that_answers_callers_is_not_enabled(catalog: rows.Catalog) -> None:
    services.target_create(endpoint=catalog.endpoint, name="first", url="http://127.0.0.1:9/", delivery_mode="sync")
    second = services.target_create(
        endpoint=catalog.endpoint, name="second", url="http://127.0.0.1:9/", delivery_mode="sync", is_enabled=False
    )
    with pytest.raises(ValidationError, match="answers its callers already"):
        target_enable(target=second, held="release", by=None)
    second.refresh_from_db()
    assert not second.is_enabled


def test_the_api_disables_and_enables(client: Client, token_of: Any, catalog: rows.Catalog) -> None:
    header, url = token_of("operators"), f"/api/v1/targets/{catalog.target.pk}"
    held(catalog)
    answer = client.post(f"{url}/disable", {}, JSON, headers=header)
    assert answer.json() == {"id": catalog.target.pk, "isEnabled": False, "held": 1}
    answer = client.post(f"{url}/enable", {"held": "maybe"}, JSON, headers=header)
    assert answer.status_code == 400
    answer = client.post(f"{url}/enable", {"held": "release"}, JSON, headers=header)
    assert answer.json() == {"id": catalog.target.pk, "isEnabled": True, "released": 1, "discarded": 0}
    said = LogEntry.objects.filter(object_id=str(catalog.target.pk)).order_by("action_time")
    assert [entry.get_change_message() for entry in said] == [
        "Disabled.",
        "Enabled; released 1, discarded 0 deliveries.",
    ]


def test_the_admin_asks_before_it_discards(catalog: rows.Catalog, client: Client) -> None:
    client.force_login(rows.user("root", is_superuser=True))
    delivery = held(catalog)
    url, chosen = "/admin/catalog/target/", {"_selected_action": [str(catalog.target.pk)]}
    client.post(url, {"action": "disable", **chosen})
    assert not Target.objects.get().is_enabled
    asked = client.post(url, {"action": "enable_and_discard", **chosen})
    assert "1 held" in asked.content.decode()
    assert not Target.objects.get().is_enabled
    client.post(url, {"action": "enable_and_discard", "confirmed": "yes", **chosen})
    assert Target.objects.get().is_enabled
    assert Delivery.objects.get(pk=delivery.pk).state == "discarded"


def test_the_command_disables_and_enables(catalog: rows.Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    delivery = held(catalog, DeliveryState.WAITING)
    call_command("target", "disable", str(catalog.target))
    assert capsys.readouterr().out == f"{catalog.target} is disabled (by an operator); 1 deliveries are held\n"
    with pytest.raises(CommandError, match="--held"):
        call_command("target", "enable", str(catalog.target))
    call_command("target", "enable", str(catalog.target), "--held", "discard")
    assert capsys.readouterr().out == (
        f"released 0, discarded 1 deliveries\n{catalog.target} is enabled; 0 deliveries are held\n"
    )
    assert Delivery.objects.get(pk=delivery.pk).state == "discarded"


@pytest.mark.parametrize("path", ["shop", "shop/v1/orders:none", "shop/v1/orders/more:billing", "shop/v1:billing", ""])
def test_the_command_refuses_a_target_that_there_is_not(catalog: rows.Catalog, path: str) -> None:
    with pytest.raises(CommandError, match="There is no target"):
        call_command("target", "disable", path)
    assert Target.objects.get().is_enabled
