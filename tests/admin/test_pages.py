"""What the pages say: the start page, empty lists, names as they are, times with their zone, defaults of a new row."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from relay_admin.catalog.models import HostBinding, Model, Pricing, Target, default_retry_schedule
from relay_admin.deliveries.models import LiveDelivery
from relay_admin.deliveries.selectors import oldest_due_at
from relay_admin.home import attention
from relay_contract.intake import SHARDS, DeliveryState
from tests.admin import rows
from tests.admin.typed import new_target


def text_of(page: bytes) -> str:
    """What a reader sees of it, spaces made one."""
    seen = re.sub(r"<(script|style).*?</\1>", "", page.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", seen))


def test_the_start_page_says_what_waits(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    quiet = text_of(client.get("/admin/").content)
    assert "The failure queue is empty." in quiet
    assert "No delivery is overdue." in quiet

    request = rows.request_row(catalog)
    rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    late = rows.delivery_row(request, catalog.target, DeliveryState.PENDING)
    LiveDelivery.objects.filter(pk=late.pk).update(next_attempt_at="2026-01-02T03:04:05Z")
    page = text_of(client.get("/admin/").content)
    assert "1 failed delivery in the failure queue" in page
    assert "1 due: workers are not running, or are behind." in page
    assert "The oldest due delivery has waited since 2026-01-02 03:04:05 UTC" in page


@pytest.mark.parametrize(
    ("who", "titles"),
    [
        ("support", ["Traffic", "Inference", "Money", "Access"]),
        ("viewers", ["Traffic", "Relay endpoints", "Inference", "Money", "Access"]),
        ("superuser", ["Traffic", "Relay endpoints", "Inference", "Money", "Access"]),
    ],
)
def test_the_start_page_links_what_its_reader_may_open(who: str, titles: list[str], client_of, db: None) -> None:
    client: Client = client_of(who)
    groups = client.get("/admin/").context["groups"]
    assert [title for title, _items in groups] == titles
    links = [str(item["link"]) for _title, items in groups for item in items]
    assert {link: client.get(link).status_code for link in links} == dict.fromkeys(links, 200)
    assert all(item["about"] for _title, items in groups for item in items)


def test_the_start_page_names_no_example_to_who_may_not_see_it(client_of, catalog: rows.Catalog) -> None:
    path = f"/r/{catalog.endpoint}"
    assert path in client_of("operators").get("/admin/").content.decode()
    assert path not in client_of("support").get("/admin/").content.decode()


def test_the_start_page_names_a_model_that_talks(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    Pricing.objects.filter(pk=catalog.pricing.pk).update(rates=[{"meter": "output", "nanousd_per_million": 1}])
    embedding = Model.objects.create(name="a-first-by-name")
    HostBinding.objects.create(model=embedding, host=catalog.host, wire_shape="openai_chat", upstream_name="e")
    assert client.get("/admin/").context["model"] == "gpt-demo"
    catalog.binding.delete()
    assert client.get("/admin/").context["model"] == "a-first-by-name"
    HostBinding.objects.all().delete()
    assert client.get("/admin/").context["model"] is None


def test_a_person_without_rights_is_told_no_numbers(client_of, catalog: rows.Catalog) -> None:
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    client: Client = client_of("anonymous")
    client.force_login(rows.user("nobody"))
    page = client.get("/admin/")
    links = [str(item["link"]) for _title, items in page.context["groups"] for item in items]
    assert (page.status_code, links) == (200, ["/admin/sessions/"])
    assert "failure queue" not in text_of(page.content)


def test_the_oldest_due_delivery_is_found_in_any_shard(catalog: rows.Catalog) -> None:
    assert oldest_due_at() is None
    now = timezone.now()
    request = rows.request_row(catalog)
    for shard in range(SHARDS):
        made = rows.delivery_row(request, catalog.target, DeliveryState.PENDING)
        due_at = now - timedelta(seconds=shard)
        LiveDelivery.objects.filter(pk=made.pk).update(shard=shard, next_attempt_at=due_at)
        assert oldest_due_at() == due_at
    rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    assert oldest_due_at() == now - timedelta(seconds=SHARDS - 1)


def test_late_is_what_a_worker_should_have_taken() -> None:
    now = timezone.now()
    assert not attention.is_late(None)
    assert not attention.is_late(now + timedelta(hours=1))
    assert not attention.is_late(now)
    assert attention.is_late(now - timedelta(seconds=attention.LATE_SECONDS + 1))


def test_an_empty_list_says_what_its_rows_are(client_of, db: None) -> None:
    client: Client = client_of("superuser")
    queue = text_of(client.get("/admin/deliveries/deaddelivery/").content)
    assert "The failure queue is empty Deliveries that are out of attempts" in queue
    assert "Create a new item" not in queue
    searched = text_of(client.get("/admin/deliveries/deaddelivery/?q=nothing").content)
    assert "Nothing matches A delivery id or request id. Whole ids only. " in searched


def test_names_are_shown_as_they_are_and_times_with_their_zone(client_of, catalog: rows.Catalog) -> None:
    page = text_of(client_of("operators").get(f"/admin/catalog/endpoint/{catalog.endpoint.pk}/change/").content)
    assert f"Endpoints chevron_right {catalog.endpoint} " in page
    assert f"{catalog.endpoint.created_at:%Y-%m-%d %H:%M:%S} UTC" in page


def test_a_new_target_is_offered_the_default_schedule(client_of, catalog: rows.Catalog) -> None:
    """The form's own field once hid the column's default: a target that was saved as offered was tried once."""
    client: Client = client_of("operators")
    for url in ("/admin/catalog/target/add/", "/admin/catalog/endpoint/add/"):
        assert "\n".join(map(str, default_retry_schedule())) in client.get(url).content.decode()
    typed = {"endpoint": catalog.endpoint.pk, "name": "fresh", "url": "http://127.0.0.1:9/"}
    answer = client.post("/admin/catalog/target/add/", new_target(client) | typed)
    assert answer.status_code == 302
    assert Target.objects.get(name="fresh").retry_schedule_seconds == default_retry_schedule()


def test_browsers_find_an_icon(client: Client, db: None) -> None:
    answer = client.get("/favicon.ico")
    assert answer.status_code == 200
    assert b"".join(answer.streaming_content).startswith(b"\0\0\1\0")  # an .ico's first bytes


def test_a_delivery_shows_what_its_state_leaves_to_say(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    request = rows.request_row(catalog)
    dead = rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    pending = rows.delivery_row(request, catalog.target, DeliveryState.PENDING)
    of_dead = text_of(client.get(f"/admin/deliveries/deaddelivery/{dead.pk}/change/").content)
    of_pending = text_of(client.get(f"/admin/deliveries/delivery/{pending.pk}/change/").content)
    assert " Reason " in of_dead
    assert " Next attempt at " not in of_dead
    assert " Reason " not in of_pending
    assert " Next attempt at " in of_pending
    target_page = f"/admin/catalog/target/{catalog.target.pk}/change/"
    url = f"/admin/deliveries/delivery/{dead.pk}/change/"
    assert target_page in client_of("viewers").get(url).content.decode()
    assert target_page not in client.get(url).content.decode()


def test_who_came_by_a_wrong_way_is_told_so(client_of, db: None) -> None:
    nobodys, somebodys = Client().get("/nothing"), client_of("support").get("/nothing")
    assert (nobodys.status_code, somebodys.status_code) == (404, 404)
    assert "There is nothing here" in text_of(nobodys.content)
    assert nobodys.content == somebodys.content
    refused = Client(enforce_csrf_checks=True).post("/account/sign-in", {"username": "a", "password": "b"})
    assert (refused.status_code, "Nothing was changed." in text_of(refused.content)) == (403, True)
