"""Breakers in the admin: what is open is shown to who may see it, and closed by who may."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from relay_admin.redis_link import RedisAwayError
from relay_admin.traffic.breakers import breaker_reset, breakers_list
from relay_admin.traffic.models import BreakerEvent
from relay_contract.ids import uuid7
from relay_contract.redis import keys
from relay_contract.redis.breakers import PAUSED, binding_field, host_key_field
from tests.admin import rows
from tests.admin.test_pages import text_of

LIST = "/admin/traffic/breakerevent/"


@pytest.fixture
def valkey(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url, decode_responses=True)


def opened(valkey: redis.Redis, field: str, row_id: int, state: str = "open") -> str:
    """A breaker as report.lua writes it."""
    seconds, _ = valkey.time()
    entry = {
        "state": state, "reason": "auth", "level": 0, "host": "vendor", "row_id": row_id,
        "since_ms": seconds * 1000, "until_ms": seconds * 1000 + 60_000,
    }  # fmt: skip
    valkey.hset(keys.BREAKERS, field, json.dumps(entry))
    valkey.set(keys.health(field), "{}")
    return field


def test_what_is_open_is_listed_and_closed_by_a_reset(valkey: redis.Redis, db: None) -> None:
    key = opened(valkey, host_key_field("sk-1"), 7)
    binding = opened(valkey, binding_field(4), 4)
    assert {(entry.field, entry.kind, entry.row_id) for entry in breakers_list()} == {
        (key, "host_key", 7),
        (binding, "binding", 4),
    }
    assert breaker_reset(field=key) is not None
    assert [entry.field for entry in breakers_list()] == [binding]
    assert valkey.exists(keys.health(key)) == 0
    assert valkey.exists(keys.health(binding)) == 1
    event = BreakerEvent.objects.get()
    assert (event.kind, event.host_key_id, event.binding_id) == ("host_key", 7, None)
    assert (event.from_state, event.to_state, event.reason) == ("open", "closed", "reset")
    assert breaker_reset(field=key) is None
    assert BreakerEvent.objects.count() == 1


def test_a_paused_key_was_open_as_far_as_people_are_concerned(valkey: redis.Redis, db: None) -> None:
    event = breaker_reset(field=opened(valkey, host_key_field("sk-1"), 7, PAUSED))
    assert event is not None
    assert (event.from_state, event.to_state) == ("open", "closed")


def test_the_page_names_what_is_open_and_the_button_closes_it(
    valkey: redis.Redis, client_of, catalog: rows.Catalog
) -> None:
    field = opened(valkey, binding_field(catalog.binding.pk), catalog.binding.pk)
    client: Client = client_of("operators")
    page = client.get(LIST).content.decode()
    assert f"vendor: {catalog.model.name}" in page
    url = reverse("admin:traffic_breaker_reset") + f"?field={field}"
    assert f'href="{url.replace(":", "%3A")}"' in page
    asked = client.get(url).content.decode()
    assert "Close this breaker now?" in asked
    assert f"vendor: {catalog.model.name}, open: auth: the host refuses the key" in asked
    assert valkey.hexists(keys.BREAKERS, field)
    answer = client.post(url, follow=True)
    assert "The breaker is closed" in answer.content.decode()
    assert "Every breaker is closed." in answer.content.decode()
    assert not valkey.hexists(keys.BREAKERS, field)
    assert LogEntry.objects.get().get_change_message() == f"Reset {field}."
    assert "It was closed already." in client.post(url, follow=True).content.decode()


def event_row(**columns: Any) -> BreakerEvent:
    """A breaker that opened for five minutes."""
    given = {
        "id": uuid7(), "at": timezone.now(), "kind": "host_key", "host": "vendor", "from_state": "half_open",
        "to_state": "open", "reason": "rate_limit", "open_ms": 300_000,
    }  # fmt: skip
    return BreakerEvent.objects.create(**given | columns)


def test_events_are_told_in_words(redis_url: str, client_of, catalog: rows.Catalog) -> None:
    event_row(host_key_id=catalog.host_key.pk)
    event_row(kind="binding", binding_id=9999, to_state="slow_start", reason="recovered", open_ms=0)
    page = text_of(client_of("viewers").get(LIST).content)
    assert "vendor: key main half open open rate limit: the host takes no more calls of this key for now 5 min" in page
    assert "vendor: (deleted, 9999) half open slow start recovered: calls went well -" in page


def test_a_long_list_takes_no_more_queries(redis_url: str, client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("viewers")
    client.get(LIST)
    counts = []
    for _ in range(2):
        event_row(host_key_id=catalog.host_key.pk)
        event_row(kind="binding", binding_id=catalog.binding.pk)
        with CaptureQueriesContext(connection) as queries:
            client.get(LIST)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_only_who_may_see_a_key_is_led_to_it(valkey: redis.Redis, client_of, catalog: rows.Catalog) -> None:
    opened(valkey, host_key_field("sk-1"), catalog.host_key.pk)
    page = f"/admin/catalog/hostkey/{catalog.host_key.pk}/change/"
    assert page in client_of("operators").get(LIST).content.decode()
    assert page not in client_of("support").get(LIST).content.decode()


@pytest.mark.parametrize(("who", "sees"), [("viewers", 200), ("support", 200), ("anonymous", 302)])
def test_who_may_not_reset_changes_nothing(
    who: str, sees: int, valkey: redis.Redis, client_of, catalog: rows.Catalog
) -> None:
    field = opened(valkey, binding_field(catalog.binding.pk), catalog.binding.pk)
    client: Client = client_of(who)
    url = reverse("admin:traffic_breaker_reset") + f"?field={field}"
    page = client.get(LIST)
    assert page.status_code == sees
    assert b"breakerevent/reset" not in page.content
    assert client.get(url).status_code in (302, 403)
    assert client.post(url).status_code in (302, 403)
    assert valkey.hexists(keys.BREAKERS, field)
    assert BreakerEvent.objects.count() == 0


def test_without_redis_the_page_says_so(settings, client_of, db: None) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(RedisAwayError):
        breakers_list()
    client: Client = client_of("operators")
    page = client.get(LIST)
    assert page.status_code == 200
    assert "What is open now cannot be told: Redis does not answer (ConnectionError)." in page.content.decode()
    answer = client.post(reverse("admin:traffic_breaker_reset") + "?field=binding:1", follow=True)
    assert "Nothing was changed: Redis does not answer" in answer.content.decode()


def test_programs_list_them_and_close_one(
    valkey: redis.Redis, token_of: Callable[[str], dict[str, str]], catalog: rows.Catalog
) -> None:
    key = opened(valkey, host_key_field("sk-1"), 7)
    binding = opened(valkey, binding_field(4), 4, state="half_open")
    api, operator = Client(), token_of("operators")

    def listed(query: str = "") -> list[str]:
        found = api.get(f"/api/v1/breakers{query}", headers=operator).json()["results"]
        return sorted(one["breaker"] for one in found)

    assert listed() == sorted([key, binding])
    for query, expected in (("state=open", key), ("kind=binding", binding), ("kind=host_key&host=vendor", key)):
        assert listed(f"?{query}") == [expected]
    assert listed("?host=other") == listed("?reason=quota") == []
    [one] = api.get("/api/v1/breakers?kind=host_key", headers=operator).json()["results"]
    assert (one["state"], one["reason"], one["host"], one["hostKeyId"], one["bindingId"], one["upstreamName"]) == (
        "open", "auth", "vendor", 7, None, None,
    )  # fmt: skip
    reset, body = "/api/v1/breakers/reset", {"breaker": key}
    assert api.post(reset, body, "application/json", headers=token_of("viewers")).status_code == 403
    assert listed("?state=open") == [key]
    said = [api.post(reset, body, "application/json", headers=operator).json() for _ in range(2)]
    assert said == [{"isReset": True}, {"isReset": False}]
    assert listed() == [binding]
    assert LogEntry.objects.get().change_message == "Reset."


def test_programs_are_told_that_redis_is_away(settings, token_of, free_port: int, catalog: rows.Catalog) -> None:
    operator = token_of("operators")
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port}"
    for answer in (
        Client().get("/api/v1/breakers", headers=operator),
        Client().post("/api/v1/breakers/reset", {"breaker": "binding:1"}, "application/json", headers=operator),
    ):
        assert (answer.status_code, answer.json()["error"]) == (503, "redis_away")
