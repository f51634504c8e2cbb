"""The portal's logs and failure queue: who sees what of a request, and replays that are of one project alone."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from relay_admin.access.models import Membership, User
from relay_admin.access.roles import ACTS, Act, Role
from relay_admin.deliveries.admin.keyset import failed_before
from relay_admin.deliveries.models import DeadDelivery, Delivery, ReplayBatch
from relay_contract.intake import DeliveryState
from tests.admin import rows
from tests.admin.test_portal import member, person
from tests.admin.test_strangers import other_project

SHOP = "/portal/projects/shop"


def page(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status, answer.content
    return answer.content.decode()


def dead(catalog: rows.Catalog, **columns: Any) -> Delivery:
    return rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD, **columns)


def states() -> list[str]:
    return sorted(Delivery.objects.values_list("state", flat=True))


@pytest.mark.parametrize("role", list(Role))
def test_what_of_a_request_each_role_sees(catalog: rows.Catalog, role: Role) -> None:
    delivery = dead(catalog)
    client = member(catalog.project, role)
    address = f"{SHOP}/requests/{delivery.request_id}"
    acts = ACTS[role]
    for each in (f"{SHOP}/requests", f"{SHOP}/calls", f"{SHOP}/usage", f"{SHOP}/failures", address):
        assert client.get(each).status_code == (200 if Act.SEE_TRAFFIC in acts else 403), each
    if Act.SEE_TRAFFIC in acts:
        shown = page(client, address)
        assert ("Headers that travel on" in shown) == (Act.SEE_PAYLOAD in acts)
        assert (f"failures/replay?delivery={delivery.pk}" in shown) == (Act.REPLAY in acts)
        assert ("Replay all that match" in page(client, f"{SHOP}/failures")) == (Act.REPLAY in acts)
    one = client.post(f"{SHOP}/failures/replay?delivery={delivery.pk}", {"pace": "", "note": ""})
    assert one.status_code == (302 if Act.REPLAY in acts else 403)
    assert states() == (["pending"] if Act.REPLAY in acts else ["dead"])


def test_a_requests_content_is_redacted(catalog: rows.Catalog) -> None:
    request = rows.request_row(
        catalog, body=b'{"order": 7, "password": "canary-1"}', headers={"authorization": "Bearer canary-2", "x-a": "b"}
    )
    shown = page(member(catalog.project, "support"), f"{SHOP}/requests/{request.pk}")
    assert ("order" in shown, "x-a: b" in shown, "canary" in shown) == (True, True, False)


def test_markup_in_what_came_stays_text(catalog: rows.Catalog) -> None:
    rows.request_row(catalog, event_type="<script>alert(1)</script>", path="/r/<img src=x>")
    shown = page(member(catalog.project, "viewer"), f"{SHOP}/requests")
    assert ("<script>alert" in shown, "<img src=x" in shown, "&lt;script&gt;alert" in shown) == (False, False, True)


def test_calls_are_narrowed_and_paged(catalog: rows.Catalog) -> None:
    for number in range(51):
        rows.call_row(catalog, model=f"m-{number:02}", request_id=f"r-{number:02}")
    failed = rows.call_row(catalog, model="bad", status=502, error="upstream_error")
    client = member(catalog.project, "viewer")
    first = page(client, f"{SHOP}/calls")
    assert ("bad" in first, "m-50" in first, "m-01" in first, "Older" in first) == (True, True, False, True)
    older = first.split('">Older')[0].rsplit('"', 1)[1]
    last = page(client, f"{SHOP}/calls{older.replace('&amp;', '&')}")
    assert ("m-01" in last, "m-50" in last, "Older" in last) == (True, False, False)
    only = page(client, f"{SHOP}/calls?status=5xx")
    assert ("bad" in only, "m-50" in only) == (True, False)
    assert "m-07" in page(client, f"{SHOP}/calls?request=r-07")
    assert "Select a valid choice" in page(client, f"{SHOP}/calls?status=99")
    shown = page(client, f"{SHOP}/calls/{failed.pk}")
    assert ("upstream_error" in shown, "Cost at list price" in shown) == (True, True)


def test_ones_own_calls(catalog: rows.Catalog) -> None:
    ada = person("ada")
    call = rows.call_row(catalog, user_id=ada.pk, model="alpha", host="secret-host", charge_microcredits=1_500_000)
    other = rows.call_row(catalog, model="beta")
    client = Client()
    client.force_login(ada)
    assert ("alpha" in (listed := page(client, "/portal/calls")), "beta" in listed) == (True, False)
    shown = page(client, f"/portal/calls/{call.pk}")
    assert ("1.5 credits" in shown, "secret-host" in shown, "list price" in shown) == (True, False, False)
    for nobodys in (other.pk, uuid4()):
        assert "Not found" in page(client, f"/portal/calls/{nobodys}", 404)
    assert page(client, f"{SHOP}/calls/{call.pk}", 404)


def test_the_failure_queue_is_in_the_order_of_failing(catalog: rows.Catalog) -> None:
    """Not of acceptance; pages meet where they end, also within a moment."""
    now = timezone.now()
    for number in range(52):
        dead(catalog, finished_at=now - timedelta(minutes=number // 2), last_status=400 + number)
    client = member(catalog.project, "viewer")
    first = page(client, f"{SHOP}/failures")
    seen = [int(status) for status in re.findall(r"HTTP (\d+)", first)]
    assert [status // 2 for status in seen] == [200 + number // 2 for number in range(50)]
    [older] = re.findall(r'href="(\?[^"]*after=[^"]+)">Older', first)
    last = page(client, f"{SHOP}/failures{older.replace('&amp;', '&')}")
    assert sorted(int(status) for status in re.findall(r"HTTP (\d+)", last)) == [450, 451]
    assert ">Older" not in last
    for nowhere in ("x", f"{2**70}.{uuid4()}", f"-1.{uuid4()}"):
        assert page(client, f"{SHOP}/failures?after={nowhere}").count("HTTP ") == 50


def test_a_page_of_the_failure_queue_is_read_from_its_index(catalog: rows.Catalog) -> None:
    delivery = dead(catalog)
    mine = DeadDelivery.objects.filter(project=catalog.project, state="dead")
    for rows_of_page in (mine, failed_before(mine, f"1700000000000000.{delivery.pk}")):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        plan = rows_of_page[:51].explain()
        assert "finished_at" in plan.split("Index Scan using ", 1)[1].split(" ", 1)[0], plan
        assert "Seq Scan" not in plan, plan


def test_a_replay_of_chosen_ones_says_what_it_does_first(catalog: rows.Catalog) -> None:
    first, second = dead(catalog), dead(catalog)
    dead(catalog)
    client = member(catalog.project, "support")
    address = f"{SHOP}/failures/replay?delivery={first.pk}&delivery={second.pk}"
    shown = page(client, address)
    assert "<dt>Made due</dt><dd>2</dd>" in shown
    assert "<dt>Credits held</dt>" in shown
    assert (states(), ReplayBatch.objects.count()) == (["dead"] * 3, 0)
    done = client.post(address, {"pace": "", "note": "mended"})
    batch = ReplayBatch.objects.get()
    assert (batch.project_id, batch.note, batch.replayed_count) == (catalog.project.pk, "mended", 2)
    assert batch.created_by == User.objects.get(email="support@example.test")
    assert done["Location"] == f"{SHOP}/failures/replays/{batch.pk}"
    assert "2 under way" in page(client, done["Location"])
    assert states() == ["dead", "pending", "pending"]


def test_a_replay_of_all_that_match(catalog: rows.Catalog) -> None:
    dead(catalog, last_status=500)
    dead(catalog, last_status=404)
    client = member(catalog.project, "developer")
    assert page(client, f"{SHOP}/failures?status=500").count('type="checkbox"') == 1
    assert "<dt>Made due</dt><dd>1</dd>" in page(client, f"{SHOP}/failures/replay?status=500")
    assert client.post(f"{SHOP}/failures/replay?status=500", {"pace": "0", "note": ""}).status_code == 400
    started = client.post(f"{SHOP}/failures/replay?status=500", {"pace": "5", "note": ""})
    batch = ReplayBatch.objects.get()
    assert (batch.state, batch.filter) == ("running", {"status": 500, "project": catalog.project.pk})
    assert client.get(started["Location"])["Refresh"] == "2"
    for word, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled"), ("pause", "cancelled")):
        assert client.post(f"{started['Location']}/{word}").status_code == 302
        batch.refresh_from_db()
        assert batch.state == state
    assert "The replay is cancelled." in page(client, started["Location"])
    assert client.post(f"{started['Location']}/explode").status_code == 404
    assert page(client, f"{SHOP}/failures/replay?status=1", 400)


def test_a_replay_takes_nothing_of_another_project(catalog: rows.Catalog) -> None:
    bank = replace(catalog, **other_project(catalog).__dict__)
    theirs, mine = dead(bank), dead(catalog)
    client = member(catalog.project, "owner")
    for named in (f"delivery={theirs.pk}", f"delivery={mine.pk}&delivery={theirs.pk}", f"delivery={uuid4()}",
                  "delivery=x"):  # fmt: skip
        assert client.post(f"{SHOP}/failures/replay?{named}", {"pace": ""}).status_code == 404
    assert client.get(f"{SHOP}/failures/replay?target={bank.target.pk}").status_code == 400
    assert client.post(f"{SHOP}/failures/replay", {"pace": "5"}).status_code == 302
    assert ReplayBatch.objects.get().filter == {"project": catalog.project.pk}
    assert str(theirs.request_id) not in page(client, f"{SHOP}/failures")


def test_rows_of_one_project_are_none_of_another(catalog: rows.Catalog) -> None:
    """Also for somebody who is in both: the address says of which."""
    bank = other_project(catalog)
    request, call = rows.request_row(bank), rows.call_row(bank)
    batch = ReplayBatch.objects.create(project=bank.project, state="running", filter={}, matched_count=0)
    client = member(catalog.project, "owner")
    Membership.objects.create(project=bank.project, user=User.objects.get(email="owner@example.test"), role="owner")
    for address in (f"requests/{request.pk}", f"calls/{call.pk}", f"failures/replays/{batch.pk}"):
        assert client.get(f"/portal/projects/bank/{address}").status_code == 200
        assert client.get(f"{SHOP}/{address}").status_code == 404
