"""The ledger: only ever added to, one close a delivery and replay, and a check that finds what does not add up."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from relay_admin.deliveries.models import FinishedDelivery, LiveDelivery
from relay_admin.deliveries.services import delivery_replay
from relay_admin.ledger import reconcile
from relay_admin.ledger.models import Charge
from relay_contract.intake import DeliveryState
from tests.admin import rows


def delivery(catalog: rows.Catalog, state: DeliveryState = DeliveryState.DEAD):
    return rows.delivery_row(rows.request_row(catalog), catalog.target, state)


@pytest.mark.parametrize("statement", ["UPDATE ledger_charge SET micro_credits = 0", "DELETE FROM ledger_charge"])
def test_no_row_is_changed_or_taken_away(catalog: rows.Catalog, statement: str) -> None:
    delivery(catalog)
    before = list(Charge.objects.values())
    with pytest.raises(IntegrityError, match="only ever added to"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert list(Charge.objects.values()) == before


@pytest.mark.parametrize(
    "columns",
    [
        {"phase": 1, "kind": "release"},  # closed already
        {"phase": 1, "kind": "hold", "replay": 7},
        {"phase": 0, "kind": "settle", "replay": 7},
        {"phase": 0, "kind": "gift", "replay": 7},
        {"phase": 0, "kind": "hold", "replay": 7, "micro_credits": -1},
    ],
)
def test_a_row_that_makes_no_sense_cannot_exist(catalog: rows.Catalog, columns: dict[str, object]) -> None:
    delivery(catalog)
    settled = Charge.objects.filter(phase=1).values().get()
    with pytest.raises(IntegrityError), transaction.atomic():
        Charge.objects.create(**settled | columns)


def test_live_finished_and_replayed_deliveries_are_accounted_for(catalog: rows.Catalog) -> None:
    delivery(catalog, DeliveryState.PENDING)
    delivery(catalog, DeliveryState.DELIVERED)
    replayed = delivery(catalog)
    delivery_replay(delivery_ids=[replayed.pk], by=None)
    assert reconcile.problems() == []
    assert reconcile.totals() == reconcile.Totals(3_000_000, 2_000_000, 0, 1_000_000)  # the replay is free
    hold = Charge.objects.get(delivery_id=replayed.pk, replay=1)
    assert (hold.kind, hold.micro_credits, hold.units, hold.relay_key_id) == ("hold", 0, 1, catalog.relay_key.pk)


def test_what_does_not_add_up_is_found(catalog: rows.Catalog) -> None:
    live, finished, lost, unpaid = (
        delivery(catalog, state)
        for state in (DeliveryState.PENDING, DeliveryState.DEAD, DeliveryState.DEAD, DeliveryState.PENDING)
    )
    closed = Charge.objects.filter(delivery_id=finished.pk, phase=1).values().get()
    Charge.objects.create(**closed | {"delivery_id": live.pk})
    FinishedDelivery.objects.filter(pk=finished.pk).update(replay_count=1)
    FinishedDelivery.objects.filter(pk=lost.pk).delete()
    LiveDelivery.objects.filter(pk=unpaid.pk).delete()
    found = {(problem.delivery_id, problem.replay, problem.code) for problem in reconcile.problems()}
    assert found == {
        (live.pk, 0, "closed_while_live"),
        (finished.pk, 1, "no_hold"),
        (unpaid.pk, 0, "held_for_nothing"),
    }
    errors = StringIO()
    with pytest.raises(CommandError, match="3 deliveries are not accounted for"):
        call_command("credits", "check", stdout=StringIO(), stderr=errors)
    assert f"{live.pk} replay 0: closed_while_live" in errors.getvalue()


def test_the_command_says_so_when_all_is_well(catalog: rows.Catalog) -> None:
    delivery(catalog)
    out = StringIO()
    call_command("credits", "check", stdout=out)
    assert "1.000000 held, 1.000000 settled, 0.000000 released, 0.000000 open" in out.getvalue()
    assert "every delivery is accounted for" in out.getvalue()
