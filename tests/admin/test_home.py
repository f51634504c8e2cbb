"""The home: what needs somebody, charts whose every figure leads to its rows, what changed."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from relay_admin.access.models import AuditEvent
from relay_admin.catalog.models import LineRevision, Target
from relay_admin.deliveries.models import AlertEvent, AlertRule, TargetState
from relay_admin.deliveries.request_filters import id_at
from relay_admin.doctor import edges
from relay_admin.home import figures, live
from relay_admin.home.panels import Panel
from relay_admin.home.ranges import HOUR, SPANS, Grid, span_of
from relay_admin.ledger.models import Due, Keeping
from relay_admin.redis_link import open_redis
from relay_contract.ids import uuid7
from relay_contract.intake import DeliveryState
from relay_contract.redis import keys
from tests.admin import rows
from tests.admin.test_doctor import READY, Answering
from tests.admin.test_pages import text_of
from tests.admin.test_usage import posted

NOON = datetime(2026, 11, 20, 12, 34, 56, tzinfo=UTC)
DAY = span_of("24h")


def home(client: Client, query: str = "") -> Any:
    answer = client.get(f"/admin/{query}")
    assert answer.status_code == 200
    return answer


def notes_of(client: Client) -> dict[str, str]:
    """Text of each line that needs somebody, and where it leads: to a page that its reader may open."""
    found = {note.text: note.url for note in home(client).context["notes"] if note.word != "Well"}
    assert {url: client.get(url).status_code for url in found.values()} == dict.fromkeys(found.values(), 200)
    return found


# --- what needs somebody ---


def test_all_is_well(client_of, catalog: rows.Catalog) -> None:
    Keeping.objects.create(id=1, at=timezone.now(), generation=1, open_generations=1, edges=1)
    client: Client = client_of("superuser")
    page = home(client)
    assert notes_of(client) == {}
    assert page.context["waiting"] == 0
    assert "Needs attention nothing does" in text_of(page.content)
    urls = {note.url for note in page.context["notes"]}
    assert {url: client.get(url).status_code for url in urls} == dict.fromkeys(urls, 200)


def test_a_target_that_is_left_alone_and_one_that_was_disabled(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("viewers")
    page = f"/admin/catalog/target/{catalog.target.pk}/change/"
    state = TargetState.objects.create(target_id=catalog.target.pk, breaker="open")
    assert notes_of(client)["1 target is left alone for a while"] == page
    TargetState.objects.filter(pk=state.pk).update(breaker="closed", paused_until=timezone.now() + timedelta(minutes=1))
    assert "1 target is left alone for a while" in notes_of(client)
    TargetState.objects.filter(pk=state.pk).update(paused_until=timezone.now())
    assert "1 target is left alone for a while" not in notes_of(client)
    Target.objects.filter(pk=catalog.target.pk).update(is_enabled=False)  # by a person: nothing is wrong
    assert "1 target is disabled by the relay" not in notes_of(client)
    Target.objects.filter(pk=catalog.target.pk).update(disabled_reason="failing")
    assert notes_of(client)["1 target is disabled by the relay"] == page


def test_alerts_that_are_open(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    rule = AlertRule.objects.create(kind="backlog_age", endpoint=catalog.endpoint)
    one = AlertEvent.objects.create(rule=rule, subject="target:1", request_id=uuid7())
    AlertEvent.objects.create(rule=rule, subject="target:2", request_id=uuid7(), closed_at=timezone.now())
    assert notes_of(client)["1 alert is open"] == f"/admin/deliveries/alertevent/{one.pk}/change/"
    AlertEvent.objects.create(rule=rule, subject="target:3", request_id=uuid7())
    assert notes_of(client)["2 alerts are open"] == "/admin/deliveries/alertevent/"


def test_money_that_waits(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    silent = "Prepaid calls: the keeper of purses has never spoken"
    assert notes_of(client) == {silent: "/admin/money/"}
    now = timezone.now()
    Keeping.objects.create(
        id=1, at=now, generation=1, open_generations=1, edges=1, closed_since=now - timedelta(seconds=90)
    )
    [closed] = notes_of(client)
    assert closed.startswith("Prepaid calls: money has been closed for 9")
    Keeping.objects.update(closed_since=None)
    Due.objects.create(id=uuid7(), not_before=now)
    assert notes_of(client) == {}
    Due.objects.create(id=uuid7(), not_before=now - timedelta(minutes=5))
    Due.objects.create(id=uuid7(), tries=5)
    assert notes_of(client) == dict.fromkeys(["2 calls wait to be posted", "1 call cannot be posted"], "/admin/money/")


def test_the_worst_comes_first(client_of, catalog: rows.Catalog) -> None:
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    TargetState.objects.create(target_id=catalog.target.pk, breaker="open")
    words = [note.word for note in home(client_of("superuser")).context["notes"]]
    assert words == [*["Wrong"] * words.count("Wrong"), "Look", *["Well"] * words.count("Well")]
    assert words.count("Wrong") == 2  # and the keeper, who has never spoken


def test_who_may_see_nothing_is_told_nothing(client: Client, catalog: rows.Catalog) -> None:
    client.force_login(rows.user("nobody"))
    page = home(client)
    shown = {name: page.context[name] for name in ("notes", "panels", "changes", "publications", "steps", "may_begin")}
    assert shown == {
        "notes": [], "panels": [], "changes": None, "publications": None, "steps": [], "may_begin": False,
    }  # fmt: skip
    assert client.get("/admin/processes/").status_code == 403
    assert Client().get("/admin/processes/").status_code == 302


# --- charts ---


@pytest.mark.parametrize(("slug", "count"), [("1h", 30), ("24h", 24), ("7d", 28), ("30d", 30)])
def test_a_range_ends_with_the_step_that_goes_on(slug: str, count: int) -> None:
    grid = span_of(slug).grid(NOON)
    assert len(grid.places) == count
    assert grid.places[-1] <= NOON < grid.until
    assert grid.until - grid.since == grid.span.length
    assert {(place - datetime(2026, 1, 1, tzinfo=UTC)) % grid.span.step for place in grid.places} == {timedelta(0)}


def test_an_unknown_range_is_the_day() -> None:
    assert [span_of(slug).slug for slug in ("", "1y", "7d")] == ["24h", "24h", "7d"]


def at_noon(span: Any = DAY) -> Grid:
    return span.grid(NOON)


@pytest.mark.parametrize("span", SPANS[1:], ids=[span.slug for span in SPANS[1:]])
def test_days_are_summed_from_hours(span: Any, catalog: rows.Catalog) -> None:
    grid = at_noon(span)
    for at in (grid.since, grid.until - timedelta(minutes=1), grid.until - timedelta(minutes=2)):
        posted(catalog, at, "alpha")
    for at in (grid.since - timedelta(minutes=1), grid.until):
        posted(catalog, at, "alpha")
    found = figures.passed(grid)
    inside = len(grid.places) - 2
    assert found == figures.Passed([1, *[0] * inside, 2], [100, *[0] * inside, 200], [0] * len(grid.places))


def test_deliveries_count_when_they_ended(catalog: rows.Catalog) -> None:
    for state in (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.PENDING):
        rows.delivery_row(rows.request_row(catalog), catalog.target, state)
    for span in SPANS:
        assert sum(figures.passed(span.grid(timezone.now())).deliveries) == 2


def test_the_last_hour_is_counted(catalog: rows.Catalog) -> None:
    grid = at_noon(HOUR)
    wallet = catalog.project.live_wallet_id
    for at in (grid.since, grid.places[-1], NOON):
        rows.call_row(catalog, received_at=at, payer_id=wallet, cost_nanousd=7)
    rows.call_row(catalog, received_at=NOON, payer_id=wallet, usage_source="none", status=429, error="rate_limited")
    rows.call_row(catalog, received_at=grid.until, payer_id=wallet)
    assert figures.counted(figures.CALLS, grid, 10) == [(1, 7), *[(0, 0)] * 28, (2, 1_350_014)]
    assert figures.counted(figures.CALLS, grid, 2)[-1][0] == 2  # that many, or more


def test_failures_are_counted_up_to_a_bound(catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = at_noon()
    for _ in range(3):
        rows.call_row(catalog, received_at=NOON, status=502, error="upstream_failed")
    rows.call_row(catalog, received_at=NOON)
    assert figures.failed(figures.FAILED_CALLS, grid) == [*[0] * 23, 3]
    monkeypatch.setattr(figures, "MOST_FAILED", 2)
    assert figures.failed(figures.FAILED_CALLS, grid) == [*[0] * 23, 2]


def test_times_are_of_calls_that_went_well(catalog: rows.Catalog) -> None:
    grid = at_noon()
    none = [0] * 23
    assert figures.times(grid) == figures.Times([*none, 0], [*none, 0], 0, 0, 0)
    for number in range(1, 21):
        rows.call_row(catalog, received_at=NOON, total_us=number * 1_000)
    rows.call_row(catalog, received_at=NOON, total_us=9_000_000, status=504, error="upstream_timeout")
    assert figures.times(grid) == figures.Times([*none, 10_000], [*none, 19_000], 20, 10_000, 19_000)


def test_times_are_sampled_all_over_a_bar(catalog: rows.Catalog) -> None:
    grid = at_noon()
    for minutes, took in ((1, 1_000), (50, 9_000)):
        for _ in range(figures.SAMPLED + 5):
            rows.call_row(catalog, received_at=grid.places[-2] + timedelta(minutes=minutes), total_us=took)
    found = figures.times(grid)
    assert (found.sampled, found.p50[-2], found.p95[-2]) == (2 * figures.SAMPLED, 1_000, 9_000)


def plan_of(statement: str, parameters: dict[str, Any]) -> str:
    with connection.cursor() as cursor:
        # Of tables this small Postgres would read the whole, or sort it.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {statement}", parameters)
        return "\n".join(line for (line,) in cursor.fetchall())


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("CALLS", "traffic_call_"),
        ("DELIVERIES", "deliveries_finished_"),
        ("FAILED_CALLS", "traffic_call_failed"),
        ("REFUSED_REQUESTS", "_rare"),
        ("FAILED_DELIVERIES", "finished_at_id_idx"),
    ],
)
def test_no_count_reads_a_table(statement: str, index: str, db: None) -> None:
    grid = at_noon()
    ends = [grid.end_of(place) for place in grid.places]
    bounds = {"low": [id_at(at) for at in grid.places], "high": [id_at(at) for at in ends], "most": 10}
    plan = plan_of(getattr(figures, statement), {"at": grid.places, "until": ends, **bounds})
    assert index in plan
    assert "Seq Scan" not in plan


def test_no_sample_reads_a_table(db: None) -> None:
    grid = at_noon()
    ends = [grid.end_of(place) for place in grid.places]
    plan = plan_of(figures.TIMES, {"number": [0] * 24, "at": grid.places, "until": ends, "most": 10})
    assert "traffic_call_time" in plan
    assert "Seq Scan" not in plan


def some_traffic(catalog: rows.Catalog) -> None:
    """Two calls that went well, one that failed, a delivery, one in the failure queue, and a call that was refused."""
    now = timezone.now()
    for _ in range(2):
        posted(catalog, now, catalog.model.name)
    rows.call_row(catalog, status=502, error="upstream_failed", usage_source="none", cost_nanousd=0, received_at=now)
    for state in (DeliveryState.DELIVERED, DeliveryState.DEAD):
        rows.delivery_row(rows.request_row(catalog), catalog.target, state)
    rows.request_row(catalog, status=429, error="rate_limited", target_count=0)


def cells(panels: list[Panel]) -> Iterator[tuple[str, str, str]]:
    """Series, figure and address of what a chart's table shows."""
    for panel in panels:
        for place in panel.places:
            for (_, name, _), (text, url) in zip(panel.legend, place.cells, strict=True):
                if url:
                    yield name, text, url


@pytest.mark.parametrize("span", [span.slug for span in SPANS])
def test_every_figure_leads_to_its_rows(span: str, client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("superuser")
    some_traffic(catalog)
    page = home(client, f"?range={span}")
    found = {}
    for name, text, url in cells(page.context["panels"]):
        listed = client.get(url)
        assert listed.status_code == 200
        found[name] = (text, len(listed.context["cl"].result_list))
    assert found == {
        "Model calls": ("2", 3),  # also the one that used nothing
        "Deliveries": ("2", 2),
        "Model calls failed": ("1", 1),
        "Deliveries failed": ("1", 1),
        "Endpoint calls refused": ("1", 1),
        "p50": ("2.35 s", 2),
        "p95": ("2.35 s", 2),
        "Calls to models": ("0.0000002 USD", 3),
    }
    for panel in page.context["panels"]:
        assert client.get(panel.url).status_code == 200
        bars = [bar for place in panel.places for bar in place.bars]
        assert all(client.get(bar.url).status_code == 200 for bar in bars)
    text = text_of(page.content)
    assert re.search(r"Traffic of [\w ]+: Model calls 2, at most 2 in [\w ]+; Deliveries 2, at most 2 in", text)


def test_a_window_before_the_rows_has_none_of_them(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("superuser")
    some_traffic(catalog)
    early = "2026-01-01&{0}_from_1=00:00:00&{0}_to_0=2026-01-01&{0}_to_1=01:00:00"
    for page, column in (
        ("traffic/call", "received_at"), ("deliveries/delivery", "created_at"), ("deliveries/request", "received_at"),
        ("deliveries/deaddelivery", "finished_at"),
    ):  # fmt: skip
        url = f"/admin/{page}/?{column}_from_0={early.format(column)}"
        assert len(client.get(url).context["cl"].result_list) == 0, page


def test_a_replay_of_a_window_is_of_no_more(client_of, catalog: rows.Catalog) -> None:
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    day = f"{timezone.now():%Y-%m-%d}"
    window = f"finished_at_from_0={day}&finished_at_from_1=00:00:00&finished_at_to_0={day}&finished_at_to_1=23:59:59"
    page = client_of("support").get(f"/admin/deliveries/deaddelivery/?{window}").content.decode()
    assert f"replay-all/?since={day}+00%3A00%3A00&amp;until={day}+23%3A59%3A59" in page


@pytest.mark.parametrize(
    ("wanted", "titles", "series"),
    [
        (["traffic.view_call"], ["Traffic", "Errors", "Latency", "Spend"], ["Model calls", "Model calls failed"]),
        (["deliveries.view_delivery"], ["Traffic", "Errors"], ["Deliveries", "Deliveries failed"]),
    ],
)
def test_charts_are_of_what_one_may_see(wanted: list[str], titles: list[str], series: list[str], client: Client,
                                        catalog: rows.Catalog) -> None:  # fmt: skip
    reader = rows.user("reader")
    reader.user_permissions.set([rows.permission(name) for name in wanted])
    client.force_login(reader)
    some_traffic(catalog)
    panels = home(client).context["panels"]
    assert [panel.words.title for panel in panels] == titles
    assert [name for panel in panels[:2] for _, name, _ in panel.legend] == series
    assert {client.get(url).status_code for _, _, url in cells(panels)} == {200}


# --- what changed ---


def test_what_changed(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("superuser")
    catalog.line.description = "changed"
    catalog.line.save()
    newest = AuditEvent.objects.order_by("-id")[0]
    page = home(client)
    [first, *others] = page.context["changes"]
    assert (first.what, first.whose, first.url) == (
        "changed", f"line {newest.subject_name}", f"/admin/access/auditevent/{newest.pk}/change/",
    )  # fmt: skip
    assert len(others) == 9
    assert client.get(first.url).status_code == 200

    root = rows.user("ada")
    LineRevision.objects.create(
        line=catalog.line, number=7, document={}, published_by=root, published_at=timezone.now(), note="for Monday",
        source="publish",
    )  # fmt: skip
    [published] = home(client).context["publications"]
    assert (published.who, published.what, published.whose, published.note) == (
        "ada", "published", "shop/v1 revision 7", "for Monday",
    )  # fmt: skip
    assert client.get(published.url).status_code == 200


# --- how the processes are ---


@pytest.fixture
def scheduled() -> Iterator[None]:
    """The schedule has left word, and no edge process has."""
    with open_redis() as client:
        client.set(keys.SCHEDULE, 1)
        client.delete(keys.EDGES)
        yield
        client.delete(keys.SCHEDULE)


@pytest.mark.usefixtures("scheduled")
def test_the_processes_say_how_they_are(client_of, settings) -> None:
    client: Client = client_of("support")
    with Answering(READY) as url:
        settings.EDGE_INTERNAL_URL = url
        part = client.get("/admin/processes/?part")
        whole = client.get("/admin/processes/")
    text = text_of(part.content)
    assert "process 0 (pid 7)" in text
    assert "0 are known in this Redis" in text  # the edge of this test speaks to none
    assert "Workers: no worker is connected to Postgres" in text
    assert f"Schedule: did something within {keys.SCHEDULE_SECONDS} s" in text
    assert b"<html" not in part.content
    assert b"<html" in whole.content
    [edge] = part.context["edges"]
    assert (edge.version, edge.age_seconds) == (READY["catalog"]["version"], READY["catalog"]["age_seconds"])


def test_a_dead_edge_is_said_plainly(client_of, free_port: int, settings) -> None:
    settings.EDGE_INTERNAL_URL = f"http://127.0.0.1:{free_port}"
    answer = client_of("support").get("/admin/processes/?part")
    text = text_of(answer.content)
    assert f"Edges: http://127.0.0.1:{free_port} does not answer as an edge (ConnectionRefusedError)" in text
    assert answer.context["edges"] == []


def test_redis_away_is_said_too(client_of, free_port: int, settings) -> None:
    settings.EDGE_INTERNAL_URL = f"http://127.0.0.1:{free_port}"
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port}/0"
    assert "Redis does not answer (ConnectionError)." in text_of(client_of("support").get("/admin/processes/").content)


def test_the_home_asks_no_other_process(client_of, catalog: rows.Catalog, free_port: int, settings) -> None:
    """Neither is there in this test, and the page says nothing of them itself."""
    settings.REDIS_URL, settings.EDGE_INTERNAL_URL = f"redis://127.0.0.1:{free_port}/0", f"http://127.0.0.1:{free_port}"
    page = home(client_of("superuser")).content.decode()
    assert 'data-relay-load="/admin/processes/?part"' in page
    assert str(free_port) not in page


def test_a_process_that_is_met_often_is_one() -> None:
    with Answering(READY) as url:
        assert [edge.name for edge in edges.ask(url, live.TIMEOUT_SECONDS)] == ["process 0 (pid 7)"]
