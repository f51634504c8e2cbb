"""The list of the failure queue: pages by place, read off an index whatever the history's size, filters kept."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from relay_admin.deliveries.admin.delivery import FailureQueueAdmin
from relay_admin.deliveries.models import DeadDelivery, FinishedDelivery
from relay_admin.deliveries.selectors import failing_target_ids
from relay_contract.intake import DeliveryState
from tests.admin import rows

LIST = "/admin/deliveries/deaddelivery/"
AT = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def pages_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FailureQueueAdmin, "list_per_page", 3)


def dead(catalog: rows.Catalog, ago_seconds: int, reason: str = "attempts_exhausted") -> str:
    row = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD, dead_reason=reason)
    FinishedDelivery.objects.filter(pk=row.pk).update(finished_at=AT - timedelta(seconds=ago_seconds))
    return str(row.pk)


def walked(client: Client, address: str) -> tuple[list[str], list[str]]:
    """Ids from page to page, and the addresses of the pages after the first."""
    found, addresses = [], []
    while True:
        page = client.get(address).content.decode()
        found += re.findall(r"deaddelivery/([0-9a-f-]{36})/change/", page)
        older = re.search(r'href="(\?[^"]*before=[^"]*)">Older', page)
        if older is None:
            return list(dict.fromkeys(found)), addresses
        address = LIST + older[1].replace("&amp;", "&")
        addresses.append(address)
        assert len(addresses) < 10


@pytest.mark.usefixtures("pages_of_three")
def test_pages_neither_skip_nor_repeat_what_failed_in_one_moment(client_of: Any, catalog: rows.Catalog) -> None:
    """As a worker's batch ends many: within a moment the id decides."""
    first = [dead(catalog, 0) for _ in range(4)]
    second = [dead(catalog, 60) for _ in range(4)]
    client = client_of("support")
    found, addresses = walked(client, LIST)
    assert found == [*first[::-1], *second[::-1]]
    assert len(addresses) == 2
    newer = dead(catalog, -60)
    assert newer not in client.get(addresses[0]).content.decode()


@pytest.mark.usefixtures("pages_of_three")
def test_filters_are_kept_from_page_to_page_and_for_a_replay(client_of: Any, catalog: rows.Catalog) -> None:
    wanted = [dead(catalog, n) for n in range(5)]
    others = [dead(catalog, n, "target_gone") for n in range(5)]
    client = client_of("support")
    kept = {"reason": "attempts_exhausted", "project": str(catalog.project.pk), "target": str(catalog.target.pk)}
    found, [older] = walked(client, f"{LIST}?{'&'.join(f'{name}={value}' for name, value in kept.items())}")
    assert found == wanted
    assert not set(found) & set(others)
    assert {name: values[0] for name, values in parse_qs(urlsplit(older).query).items() if name in kept} == kept
    page = client.get(older).content.decode()
    [replay] = re.findall(r'href="(/admin/deliveries/deaddelivery/replay-all/[^"]*)"', page)
    assert {name: values[0] for name, values in parse_qs(urlsplit(replay.replace("&amp;", "&")).query).items()} == kept


def test_a_search_offers_no_replay_of_more_than_it_shows(client_of: Any, catalog: rows.Catalog) -> None:
    one, other = dead(catalog, 1), dead(catalog, 2)
    page = client_of("support").get(f"{LIST}?q={one}").content.decode()
    assert one in page
    assert other not in page
    assert "replay-all" not in page


@pytest.mark.parametrize(
    "place", ["nonsense", "1.2", "1.", f"{10**30}.{'0' * 32}", f"-1.{'0' * 32}", f"253402300800000000.{'0' * 32}"]
)
def test_a_place_that_is_none_is_the_first_page(client_of: Any, catalog: rows.Catalog, place: str) -> None:
    one = dead(catalog, 1)
    answer = client_of("support").get(LIST, {"before": place})
    assert answer.status_code == 200
    assert one in answer.content.decode()


@pytest.mark.parametrize("wanted", ["", "project", "target"])
def test_a_page_deep_in_the_queue_is_read_off_an_index(client_of: Any, catalog: rows.Catalog, wanted: str) -> None:
    """No sort and no scan of a table: what a page costs does not grow with the queue or the history."""
    middle = [dead(catalog, n) for n in range(20)][10]
    filters = {wanted: str(getattr(catalog, wanted).pk)} if wanted else {}
    client = client_of("support")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        client.get(LIST, {"before": DeadDelivery.objects.get(pk=middle).place, **filters})
    [listed] = [each["sql"] for each in queries if '"project_slug"' in each["sql"] and "LIMIT" in each["sql"]]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # tables of a test fit on a page
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute(f"EXPLAIN {listed}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan on deliveries_" not in plan, plan
    assert "Index Cond: (finished_at <=" in plan or "AND (finished_at <=" in plan, plan
    assert "Sort Key: deliveries_finished.id" not in plan, plan


def test_failing_targets_are_found_from_one_to_the_next(catalog: rows.Catalog) -> None:
    assert failing_target_ids(10) == []
    ids = [catalog.target.pk, catalog.target.pk + 5, catalog.target.pk + 9]
    for target_id in (*ids, *ids):
        row = dead(catalog, 1)
        FinishedDelivery.objects.filter(pk=row).update(target_id=target_id)
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED)
    assert failing_target_ids(10) == ids
    assert failing_target_ids(2) == ids[:2]
