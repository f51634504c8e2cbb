"""The first steps: what is done is read from the installation, and the call shows itself when it arrives."""

import json
from typing import Any

import pytest
from django.test import Client

from relay_admin.access.models import RelayKey
from relay_admin.catalog.models import Host, HostKey
from tests.admin import rows
from tests.admin.test_pages import text_of

PAGE = "/admin/first-steps/"
ARRIVED = "/admin/first-steps/arrived/"


def states(client: Client) -> list[str]:
    return [step.state for step in client.get(PAGE).context["steps"]]


def at_home(client: Client) -> list[Any]:
    return list(client.get("/admin/").context["steps"])


@pytest.fixture(autouse=True)
def _edge_away(settings, free_port: int) -> None:
    settings.EDGE_URL, settings.EDGE_INTERNAL_URL = "https://relay.test", f"http://127.0.0.1:{free_port}"


def test_an_empty_relay_begins_at_the_beginning(client_of, db: None) -> None:
    client: Client = client_of("superuser")
    page = client.get(PAGE)
    assert states(client) == ["next", "later", "later", "later"]
    assert [step.name for step in at_home(client)] == [
        "Add a host key", "Mint a relay key", "Make a call", "See it arrive",
    ]  # fmt: skip
    urls = [step.url.partition("#")[0] for step in page.context["steps"]]
    assert urls == ["/admin/catalog/host/add/", "/admin/catalog/project/add/", PAGE, PAGE]
    assert {url: client.get(url).status_code for url in urls} == dict.fromkeys(urls, 200)
    assert "catalog seed" in text_of(page.content)
    assert "No model is served yet" in text_of(page.content)


def test_each_step_is_done_by_what_there_is(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("superuser")
    assert states(client) == ["done", "done", "next", "later"]
    HostKey.objects.update(is_enabled=False)
    assert states(client) == ["next", "done", "later", "later"]
    HostKey.objects.update(is_enabled=True)
    Host.objects.update(is_enabled=False)
    assert states(client) == ["next", "done", "later", "later"]
    Host.objects.update(is_enabled=True)
    RelayKey.objects.update(scopes=["relay"])
    assert states(client) == ["done", "next", "later", "later"]
    RelayKey.objects.update(scopes=["inference"], expires_at="2026-01-01T00:00:00Z")
    assert states(client) == ["done", "next", "later", "later"]
    RelayKey.objects.update(expires_at=None)
    rows.call_row(catalog, status=502, error="upstream_failed")
    assert states(client) == ["done", "done", "done", "next"]
    assert len(at_home(client)) == 4
    rows.call_row(catalog)
    assert states(client) == ["done"] * 4
    assert at_home(client) == []


def test_a_relay_of_endpoints_alone_is_no_beginner(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("superuser")
    HostKey.objects.all().delete()
    rows.request_row(catalog, status=401, error="key_unknown")
    assert len(at_home(client)) == 4
    rows.request_row(catalog)
    assert at_home(client) == []


def test_the_line_to_paste(client_of, catalog: rows.Catalog) -> None:
    """The edge is not there in this test: what the catalog serves is named, and the doubt said."""
    client: Client = client_of("operators")
    page = client.get(PAGE)
    assert page.context["curl"].startswith("curl https://relay.test/v1/chat/completions \\\n")
    assert '"model":"gpt-demo"' in page.context["curl"]
    assert "The edge did not say that a key reaches this model" in text_of(page.content)


def test_hidden_and_shown_again(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("superuser")
    assert "Hide this guide" in client.get("/admin/").content.decode()
    assert client.post(PAGE, {"hide": "1"})["Location"] == "/admin/"
    assert at_home(client) == []
    page = client.get("/admin/").content.decode()
    assert f'href="{PAGE}"' in page
    assert "Show the steps at the start again" in client.get(PAGE).content.decode()
    client.post(PAGE, {"show": "1"})
    assert len(at_home(client)) == 4


def test_a_call_is_seen_to_arrive(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("superuser")
    assert client.get(PAGE).context["after"] == ""
    assert client.get(ARRIVED).json() == {"call": None}
    assert "It arrived" not in text_of(client.get(f"{PAGE}?after=").content)
    old = rows.call_row(catalog, status=502, error="upstream_failed", host="")
    assert "It arrived: gpt-demo answered 502" in text_of(client.get(f"{PAGE}?after=").content)
    after = client.get(PAGE).context["after"]
    assert after == old.pk
    assert client.get(f"{ARRIVED}?after={after}").json() == {"call": None}
    new = rows.call_row(catalog)
    url = f"/admin/traffic/call/{new.pk}/change/"
    assert client.get(f"{ARRIVED}?after={after}").json() == {
        "call": {"id": str(new.pk), "url": url, "status": 200, "error": "", "model": "gpt-demo", "host": "vendor",
                 "took": "2.35 s", "isServed": True}
    }  # fmt: skip
    assert client.get(url).status_code == 200
    page = text_of(client.get(f"{PAGE}?after={after}").content)  # without a script
    assert "It arrived: gpt-demo answered 200 after 2.35 s." in page


@pytest.mark.parametrize("after", ["nonsense", "", "\0", "1" * 40])
def test_an_after_that_is_none_is_the_first_call(after: str, client_of, catalog: rows.Catalog) -> None:
    new = rows.call_row(catalog)
    answer = client_of("superuser").get(ARRIVED, {"after": after})
    assert json.loads(answer.content)["call"]["id"] == str(new.pk)


@pytest.mark.parametrize(
    ("who", "status"), [("superuser", 200), ("operators", 200), ("viewers", 403), ("anonymous", 302)]
)
def test_who_is_guided(who: str, status: int, client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of(who)
    assert [client.get(url).status_code for url in (PAGE, ARRIVED)] == [status, status]
    assert client.post(PAGE, {"hide": "1"}).status_code == (302 if status == 200 else status)
    if who == "viewers":
        assert at_home(client) == []
