"""Where a call would go: the page and the control API, over a real edge that reads the same rows."""

import base64
import html
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.test import Client

from relay_admin import edge_client
from relay_admin.access import services as access
from relay_admin.catalog.models import HostBinding, HostKey, ModelAlias, Policy
from relay_edge.explain_call import OPERATIONS
from tests.admin import rows
from tests.edge.running import environment
from tests.system.product import wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = "/admin/resolve/"
API = "/api/v1/resolve"
JSON = "application/json"


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.fixture
def whole(transactional_db: None, django_db_serialized_rollback: None) -> rows.Catalog:
    """Committed rows, for another process to read."""
    return rows.catalog_rows()


@pytest.fixture
def edge(  # noqa: PLR0917  # fixtures
    whole: rows.Catalog,
    edge_database_url: str,
    redis_url: str,
    free_port: int,
    tmp_path: Path,
    settings: Any,
) -> Iterator[str]:
    """A running edge over those rows, and the control plane's settings for it."""
    variables = environment(free_port, edge_database_url, redis_url)
    with (tmp_path / "edge.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "relay_edge"], cwd=ROOT, env=variables, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{free_port}"
    settings.EDGE_INTERNAL_URL = url
    settings.MASTER_KEYS = [base64.b64decode(variables["RELAY_MASTER_KEY"])]
    try:
        wait_for(lambda: is_ready(url), "a ready edge")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def asked(catalog: rows.Catalog, **changes: Any) -> dict[str, Any]:
    return {"relay_key": catalog.relay_key.pk, "model": "gpt-demo", "surface": "chat_completions", **changes}


def test_the_page_shows_each_candidate_and_what_hinders_the_others(
    whole: rows.Catalog, edge: str, client_of: Any
) -> None:
    client: Client = client_of("operators")
    page = client.get(PAGE, asked(whole)).content.decode()
    assert "gpt-demo on vendor is tried first, with the key main." in page
    assert "Policy all: by priority, of equal priority those first that need no translation" in page
    assert "Not used" not in page
    HostKey.objects.update(is_enabled=False)
    ModelAlias.objects.create(model=whole.model, name="newest")
    refused = wait_for(lambda: no_key(client, whole), "the edge to read the change")
    assert "newest is an alias of gpt-demo." in refused
    assert "The host has no enabled key." in refused
    assert "The host key is disabled." in refused


def no_key(client: Client, catalog: rows.Catalog) -> str:
    page = client.get(PAGE, asked(catalog, model="newest")).content.decode()
    return page if "503 no_host_key" in page else ""


def test_the_api_says_the_same_as_the_edge_to_the_key_itself(
    whole: rows.Catalog, edge: str, token_of: Any, client: Client
) -> None:
    header = token_of("viewers")
    body = {"relayKey": whole.relay_key.pk, "model": "gpt-demo", "surface": "messages"}
    answer = client.post(API, body, JSON, headers=header)
    assert answer.status_code == 200
    own = urllib.request.Request(
        f"{edge}/api/resolve", b'{"model":"gpt-demo","surface":"messages"}', {"Authorization": f"Bearer {whole.token}"}
    )
    with urllib.request.urlopen(own, timeout=5) as sent:
        assert sent.read() == answer.content
    (leg,) = answer.json()["legs"]
    assert [(each["host"], each["isTranslated"], each["grant"]) for each in leg["candidates"]] == [
        ("vendor", True, "*")
    ]


def test_every_operation_of_the_edge_can_be_asked_about(whole: rows.Catalog, edge: str, client_of: Any) -> None:
    assert edge_client.SURFACES.keys() == OPERATIONS.keys()
    client: Client = client_of("operators")
    HostBinding.objects.update(wire_shape="gemini")
    page = wait_for(lambda: no_embeddings(client, whole), "the edge to read the change")
    assert "Hosts of this shape do not do what is asked for." in page
    assert "vendor is tried first" in html.unescape(client.get(PAGE, asked(whole)).content.decode())


def no_embeddings(client: Client, catalog: rows.Catalog) -> str:
    page = client.get(PAGE, asked(catalog, surface="embeddings")).content.decode()
    return page if "400 bad_field" in page else ""


def test_a_revoked_key_is_explained_and_nothing_is_changed(
    whole: rows.Catalog, edge: str, token_of: Any, client: Client
) -> None:
    header, body = token_of("viewers"), {"relayKey": whole.relay_key.pk, "model": "gpt-demo"}
    access.relay_key_revoke(relay_key=whole.relay_key)

    def outcome() -> tuple[str, int]:
        document = client.post(API, body, JSON, headers=header).json()
        return document["outcome"], document["status"]

    wait_for(lambda: outcome() == ("key_revoked", 401), "the edge to read the change")
    assert (Policy.objects.get().models, HostBinding.objects.count()) == (["*", "-secret-*"], 1)


def test_the_edges_refusal_is_told(
    whole: rows.Catalog, edge: str, token_of: Any, client: Client, settings: Any
) -> None:
    settings.MASTER_KEYS = [os.urandom(32)]
    answer = client.post(API, {"relayKey": whole.relay_key.pk, "model": "gpt-demo"}, JSON, headers=token_of("viewers"))
    assert (answer.status_code, answer.json()["error"]) == (503, "edge_unavailable")
    assert "it was made with another RELAY_MASTER_KEY" in answer.json()["message"]


# --- without an edge ---


def test_an_edge_that_is_away_is_told(
    catalog: rows.Catalog, client_of: Any, token_of: Any, free_port: int, settings: Any
) -> None:
    settings.EDGE_INTERNAL_URL = f"http://user:hidden@127.0.0.1:{free_port}"
    told = f"The edge at http://127.0.0.1:{free_port} cannot be reached."
    page = client_of("operators").get(PAGE, asked(catalog))
    assert page.status_code == 200
    assert told in page.content.decode()
    answer = Client().post(API, {"relayKey": catalog.relay_key.pk, "model": "m"}, JSON, headers=token_of("viewers"))
    assert (answer.status_code, answer.json()["error"]) == (503, "edge_unavailable")
    assert told in answer.json()["message"]


@pytest.fixture
def stranger(settings: Any) -> Iterator[list[bytes]]:
    """Something else on the edge's address. What it answers, one after the other."""
    answers: list[bytes] = []

    class Stranger(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write(answers.pop(0))
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        settings.EDGE_INTERNAL_URL = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield answers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope", "answered 200 and is no edge"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "answered 200 and is no edge"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "answered 302"),
        (b"SSH-2.0-nothing\r\n", "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "answered 200 and is no edge"),
        (b"", "cannot be reached"),
    ],
)
def test_what_is_no_edge_is_told(
    sent: bytes, told: str, catalog: rows.Catalog, client_of: Any, stranger: list[bytes]
) -> None:
    stranger.append(sent)
    assert told in client_of("operators").get(PAGE, asked(catalog)).content.decode()


@pytest.mark.parametrize(
    ("who", "status"), [("viewers", 200), ("operators", 200), ("support", 403), ("anonymous", 302)]
)
def test_who_may_open_the_page(who: str, status: int, catalog: rows.Catalog, client_of: Any) -> None:
    client: Client = client_of(who)
    assert client.get(PAGE).status_code == status
    start = client.get("/admin/").content.decode()
    assert ('href="/admin/resolve/"' in start) is (status == 200)


@pytest.mark.parametrize(("who", "status"), [("support", 403), ("viewers", 404)])
def test_who_may_ask_the_api(who: str, status: int, catalog: rows.Catalog, token_of: Any, client: Client) -> None:
    body = {"relayKey": catalog.relay_key.pk + 1, "model": "gpt-demo"}
    assert client.post(API, body, JSON, headers=token_of(who)).status_code == status
    assert Client().post(API, body, JSON).status_code == 401


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"relayKey": "x"}, "relayKey"), ({"relayKey": 2**63}, "relayKey"), ({"model": ""}, "model"),
     ({"model": "a\0"}, "model"), ({"surface": "gemini"}, "surface")],
)  # fmt: skip
def test_a_wrong_question_names_its_field(changes: Any, field: str, db: None, token_of: Any, client: Client) -> None:
    body = {"relayKey": 1, "model": "gpt-demo", **changes}
    answer = client.post(API, body, JSON, headers=token_of("viewers"))
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])


@pytest.mark.parametrize("changes", [{"relay_key": "x"}, {"relay_key": 2**70}, {"model": ""}, {"surface": "gemini"}])
def test_the_page_says_what_is_wrong_with_the_form(changes: Any, catalog: rows.Catalog, client_of: Any) -> None:
    page = client_of("operators").get(PAGE, asked(catalog, **changes))
    assert page.status_code == 200
    assert page.context["form"].errors
    assert "explanation" not in page.context


def test_the_page_suggests_names_to_who_may_see_them(catalog: rows.Catalog, client_of: Any) -> None:
    ModelAlias.objects.create(model=catalog.model, name="newest")
    assert client_of("operators").get(PAGE).context["suggested"] == ["gpt-demo", "newest"]
    limited = rows.user("limited")
    limited.user_permissions.add(rows.permission("access.view_relaykey"))
    client = Client()
    client.force_login(limited)
    assert client.get(PAGE).context["suggested"] == []
