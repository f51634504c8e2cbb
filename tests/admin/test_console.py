"""The test console: who may use it, what it refuses, and calls through a stand-in key to an edge on loopback."""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from relay_admin.access import services as access
from relay_admin.access.acting import Actor, Via
from relay_admin.access.models import AuditEvent, RelayKey, User
from relay_admin.access.stand_ins import KEPT, stand_in_mint, stand_ins
from relay_admin.catalog import export
from relay_admin.console import call as console_call
from relay_admin.console.call import Asked, ConsoleCall, Event
from relay_admin.console.stream import MOST_OF_ONE, lines
from relay_contract.nouns import Scope
from relay_contract.tokens import parse
from tests.admin import rows

PAGE, SEND, RECORDED = "/admin/console/", "/admin/console/send", "/admin/console/recorded"
CHAT = Asked("POST", "/v1/chat/completions", (("Content-Type", "application/json"),), b'{"model":"gpt-demo"}')
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Whose callers may leave when they like."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Edge:
    """Answers as it is told to, and remembers what it was asked. The last answer is given again and again."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        edge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                edge.asked.append((self.command, self.path, dict(self.headers), body))
                (edge.answers.pop(0) if len(edge.answers) > 1 else edge.answers[0])(self)

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def answer(status: int, body: bytes, **headers: str) -> Answer:
    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return write


def in_chunks(*pieces: bytes) -> Answer:
    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in (*pieces, b""):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.wfile.flush()

    return write


@pytest.fixture
def edge(settings: Any) -> Iterator[Edge]:
    made = Edge()
    settings.EDGE_INTERNAL_URL = made.url
    yield made
    made.close()


@pytest.fixture
def operator(db: None) -> User:
    return rows.user("console-operator", "operators")


def made(catalog: rows.Catalog, operator: User, asked: Asked = CHAT, scope: Scope = Scope.INFERENCE) -> ConsoleCall:
    return ConsoleCall(asked, catalog.relay_key, scope, operator, Actor(Via.ADMIN, operator.pk, operator.username))


def told(call: ConsoleCall) -> list[Event]:
    events: list[Event] = []
    call.run(events.append)
    return events


def chat(catalog: rows.Catalog, **changes: str) -> dict[str, str]:
    key = str(catalog.relay_key.pk)
    return {"relay_key": key, "kind": "chat", "model": "gpt-demo", "message": "Hi", "method": "POST", **changes}


def to_endpoint(catalog: rows.Catalog, **changes: str) -> dict[str, str]:
    return chat(catalog, **{"kind": "endpoint", "endpoint": "shop/v1/orders", "body": "{}", **changes})


@pytest.mark.parametrize(
    ("who", "status"),
    [("anonymous", 302), ("support", 403), ("viewers", 403), ("operators", 200), ("superuser", 200)],
)
def test_who_may_mint_keys_may_use_it(client_of: Any, catalog: rows.Catalog, who: str, status: int) -> None:
    client: Client = client_of(who)
    assert client.get(PAGE).status_code == status
    assert client.get(RECORDED, {"request": "x", "kind": "chat"}).status_code == status
    assert client.post(SEND, {}).status_code == (400 if status == 200 else status)
    assert not RelayKey.objects.filter(stand_ins()).exists()


def test_a_member_of_staff_without_a_right_to_end_keys_may_not(client: Client, catalog: rows.Catalog) -> None:
    half = rows.user("half")
    half.user_permissions.add(rows.permission("access.view_relaykey"), rows.permission("access.add_relaykey"))
    client.force_login(half)
    assert client.post(SEND, chat(catalog)).status_code == 403


def test_a_call_needs_the_token_of_the_page(catalog: rows.Catalog, operator: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    assert client.post(SEND, chat(catalog)).status_code == 403


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"kind": "chat", "model": ""}, "model", "needed"),
        ({"kind": "nonsense"}, "kind", "Select a valid choice"),
        ({"relay_key": "999999999999999999999"}, "relay_key", "Select a valid choice"),
        ({"relay_key": "x' OR 1=1"}, "relay_key", "Select a valid choice"),
        ({"endpoint": ""}, "endpoint", "needed"),
        ({"endpoint": "other/v1/orders"}, "endpoint", "of the project shop"),
        ({"endpoint": "shop/v1/../../v1/models"}, "endpoint", "An address is"),
        ({"endpoint": "shop/v1/orders HTTP/1.1\r\nX: y"}, "endpoint", "An address is"),
        ({"endpoint": "shop/v1/orders?a=\x7f"}, "endpoint", "An address is"),
        ({"method": "TRACE"}, "method", "Select a valid choice"),
        ({"headers": "Authorization: Bearer x"}, "headers", "the console's own"),
        ({"headers": "X-Request-Id: x"}, "headers", "the console's own"),
        ({"headers": "Transfer-Encoding: chunked"}, "headers", "the console's own"),
        ({"headers": "no colon"}, "headers", "This is no header"),
        ({"headers": "x: \x01"}, "headers", "This is no header"),
        ({"headers": "x: €"}, "headers", "This is no header"),
        ({"headers": "\n".join(f"x-{n}: y" for n in range(21))}, "headers", "At most 20"),
        ({"body": "x" * (256 * 1024 + 1)}, "body", "at most"),
        ({"body": "\0"}, "body", "Null characters"),
    ],
)
def test_what_it_refuses(client_of: Any, catalog: rows.Catalog, changes: dict[str, str], field: str, text: str) -> None:
    refused = client_of("operators").post(SEND, to_endpoint(catalog, **changes))
    assert refused.status_code == 400
    assert text in " ".join(refused.json()["problems"][field])
    assert not RelayKey.objects.filter(stand_ins()).exists()


def test_nothing_stands_in_for_a_key_that_cannot_be_used(client_of: Any, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    key = catalog.relay_key
    ada = rows.user("ada")
    own = access.relay_key_mint(
        project=catalog.project, name="own", scopes=["inference"], user=ada, pays="user"
    ).relay_key
    assert "nobody's own wallet" in str(client.post(SEND, chat(catalog, relay_key=str(own.pk))).json())
    RelayKey.objects.filter(pk=key.pk).update(scopes=["inference"])
    assert "lacks the scope relay" in str(client.post(SEND, to_endpoint(catalog)).json())
    access.relay_key_revoke(relay_key=key)
    assert "is revoked" in str(client.post(SEND, chat(catalog)).json())
    with pytest.raises(ValidationError, match="is revoked"):
        stand_in_mint(relay_key=key, scope=Scope.INFERENCE, created_by=ada)


def test_a_call_is_made_with_a_stand_in_that_ends_with_it(edge: Edge, catalog: rows.Catalog, operator: User) -> None:
    edge.answers = [answer(200, "h\u00e4".encode(), x_relay_host="vendor", x_relay_key_successor="true")]
    RelayKey.objects.filter(pk=catalog.relay_key.pk).update(budget={"microcredits": 5, "period": "day"})
    [head, data, end] = told(made(catalog, operator))
    [stand_in] = RelayKey.objects.filter(stand_ins())
    [(method, path, headers, body)] = edge.asked
    assert (method, path, body) == ("POST", CHAT.path, CHAT.body)
    assert headers["Content-Type"] == "application/json"
    shown = parse(headers["Authorization"].removeprefix("Bearer "))
    assert shown is not None
    assert shown.key_id == stand_in.key_id
    assert (head["status"], head["said"]) == (200, "")
    assert ["x-relay-host", "vendor"] in [list(line) for line in head["headers"]]
    assert not [name for name, _ in head["headers"] if name == "x-relay-key-successor"]
    assert (data["text"], end["bytes"], end["said"]) == ("h\u00e4", 3, "")
    key = RelayKey.objects.get(pk=catalog.relay_key.pk)
    assert (stand_in.project_id, stand_in.policy_id, stand_in.mode) == (key.project_id, key.policy_id, key.mode)
    assert (stand_in.scopes, stand_in.created_by, stand_in.budget) == (["inference"], operator, key.budget)
    assert stand_in.name == f"console {stand_in.key_id} for app"
    assert stand_in.revoked_at is not None
    assert stand_in.ends_at is not None
    assert stand_in.ends_at <= stand_in.created_at + timedelta(minutes=3)  # no day of grace
    events = AuditEvent.objects.filter(subject_id=stand_in.pk, subject="access.relaykey").order_by("pk")
    assert {(event.via, event.actor_name) for event in events} == {("admin", operator.username)}
    with pytest.raises(ValidationError, match="has ended"):
        access.relay_key_rotate(relay_key=stand_in)


def test_it_waits_until_the_edge_knows_the_key(edge: Edge, catalog: rows.Catalog, operator: User) -> None:
    unknown = answer(401, b'{"error":"invalid_key"}', x_relay_error_source="client")
    edge.answers = [unknown, unknown, answer(200, b"ok")]
    assert [event["kind"] for event in told(made(catalog, operator))] == ["head", "data", "end"]
    assert len(edge.asked) == 3


def test_a_targets_own_401_is_no_reason_to_send_again(edge: Edge, catalog: rows.Catalog, operator: User) -> None:
    edge.answers = [answer(401, b"who?")]
    assert told(made(catalog, operator))[0]["status"] == 401
    assert len(edge.asked) == 1


def test_whose_fault_it_was_is_said(edge: Edge, catalog: rows.Catalog, operator: User) -> None:
    edge.answers = [answer(502, b"{}", x_relay_error_source="upstream")]
    assert told(made(catalog, operator))[0]["said"] == "It came as far as a host or target, which failed."


def test_pieces_come_as_whole_characters(edge: Edge, catalog: rows.Catalog, operator: User) -> None:
    edge.answers = [in_chunks(b"a\xc3", b"\xa4b\xff")]
    assert (
        "".join(event["text"] for event in told(made(catalog, operator)) if event["kind"] == "data") == "a\u00e4b\ufffd"
    )


def test_an_endless_answer_is_cut(edge: Edge, catalog: rows.Catalog, operator: User) -> None:
    edge.answers = [answer(200, b"x" * (console_call.MAX_ANSWER_BYTES + 100_000))]
    end = told(made(catalog, operator))[-1]
    assert end["kind"] == "end"
    assert "stopped there" in end["said"]
    assert end["bytes"] < console_call.MAX_ANSWER_BYTES + 20_000


def test_an_edge_that_is_away_is_named(edge: Edge, catalog: rows.Catalog, operator: User, settings: Any) -> None:
    settings.EDGE_INTERNAL_URL = "http://127.0.0.1:9"
    [problem] = told(made(catalog, operator))
    assert problem == {
        "kind": "problem",
        "text": "The edge at http://127.0.0.1:9 cannot be reached."
        " Is it running, and is RELAY_EDGE_INTERNAL_URL its address?",
    }
    assert not RelayKey.objects.filter(stand_ins(), revoked_at=None).exists()


def test_an_answer_that_breaks_off_is_said(edge: Edge, catalog: rows.Catalog, operator: User) -> None:
    def broken(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
        handler.close_connection = True

    edge.answers = [broken]
    assert told(made(catalog, operator))[-1] == {
        "kind": "problem", "text": "The edge closed the connection before the answer was whole.",
    }  # fmt: skip


def test_stand_ins_are_no_part_of_a_document_and_go_after_a_day(catalog: rows.Catalog, operator: User) -> None:
    before = export.export()
    first = stand_in_mint(relay_key=catalog.relay_key, scope=Scope.RELAY, created_by=operator).relay_key
    assert export.export() == before
    named_alike = access.relay_key_mint(project=catalog.project, name="console abc for app", scopes=["relay"]).relay_key
    RelayKey.objects.update(created_at=timezone.now() - KEPT - timedelta(minutes=1))
    second = stand_in_mint(relay_key=catalog.relay_key, scope=Scope.RELAY, created_by=operator).relay_key
    left = set(RelayKey.objects.values_list("pk", flat=True))
    assert left == {catalog.relay_key.pk, named_alike.pk, second.pk}
    assert first.pk not in left


def test_stand_ins_are_listed_for_who_looks_for_them(client_of: Any, catalog: rows.Catalog, operator: User) -> None:
    stand_in = stand_in_mint(relay_key=catalog.relay_key, scope=Scope.RELAY, created_by=operator).relay_key
    client: Client = client_of("operators")
    keys, boxes = "/admin/access/relaykey/", "/admin/autocomplete/"
    field = {"app_label": "deliveries", "model_name": "request", "field_name": "relay_key"}
    assert stand_in.name not in client.get(keys).content.decode()
    assert stand_in.name in client.get(keys, {"q": "console"}).content.decode()
    assert stand_in.name not in client.get("/admin/deliveries/request/").content.decode()
    chosen = client.get(boxes, {**field, "term": "app"}).json()["results"]
    assert [one["text"] for one in chosen] == ["shop/app"]


class Waiting(ConsoleCall):
    """A call that says one thing and then waits until it is stopped."""

    def run(self, tell: console_call.Tell) -> None:
        tell({"kind": "data", "text": "x", "ms": 0})
        assert self._stopped.wait(20)


async def test_so_many_calls_of_one_person_at_once(catalog_without_rows: tuple[RelayKey, User]) -> None:
    key, user = catalog_without_rows

    def another() -> Any:
        return lines(Waiting(CHAT, key, Scope.INFERENCE, user, Actor(Via.ADMIN)))

    running = [another() for _ in range(MOST_OF_ONE)]
    for each in running:
        assert json.loads(await anext(each))["text"] == "x"
    refused = [json.loads(line) async for line in another()]
    assert [event["kind"] for event in refused] == ["problem"]
    assert "Too many" in refused[0]["text"]
    for each in running:
        await each.aclose()  # as when the browser leaves

    async def is_room() -> bool:
        free = another()
        first = json.loads(await anext(free))
        await free.aclose()
        return bool(first["kind"] == "data")

    async with asyncio.timeout(10):
        while True:
            if await is_room():
                break
            await asyncio.sleep(0)


@pytest.fixture
def catalog_without_rows() -> tuple[RelayKey, User]:
    return RelayKey(pk=1), User(pk=987_654)


def test_the_link_to_what_was_written_down(client_of: Any, catalog: rows.Catalog, client: Client) -> None:
    operator: Client = client_of("operators")
    call = rows.call_row(catalog, request_id="req-console")
    kept = rows.request_row(catalog)
    asked = {"request": "req-console", "kind": "chat"}
    assert operator.get(RECORDED, asked).json() == {"url": f"/admin/traffic/call/{call.pk}/change/"}
    assert operator.get(RECORDED, {"request": str(kept.pk), "kind": "endpoint"}).json() == {
        "url": f"/admin/deliveries/request/{kept.pk}/change/"
    }
    for request_id in ("", "nope", "\0", "x" * 5000):
        for kind in ("chat", "endpoint"):
            assert operator.get(RECORDED, {"request": request_id, "kind": kind}).json() == {"url": None}
    minting = rows.user("minting")
    minting.user_permissions.add(*(rows.permission(f"access.{verb}_relaykey") for verb in ("view", "add", "change")))
    client.force_login(minting)
    assert client.get(RECORDED, asked).json() == {"url": None}


def test_the_page_is_filled_in_by_its_address(client_of: Any, catalog: rows.Catalog) -> None:
    page = client_of("operators").get(PAGE, {"endpoint": "shop/v1/orders", "kind": "endpoint", "relay_key": "x"})
    assert 'value="shop/v1/orders"' in page.content.decode()
    assert catalog.token not in page.content.decode()


def test_the_only_key_is_chosen_already(client_of: Any, catalog: rows.Catalog) -> None:
    chosen = f'<option value="{catalog.relay_key.pk}" selected>'
    operator = client_of("operators")
    assert chosen in operator.get(PAGE).content.decode()
    access.relay_key_mint(project=catalog.project, name="another", scopes=["relay"])
    assert chosen not in operator.get(PAGE).content.decode()


def test_a_valid_call_is_a_stream_that_nobody_keeps(client_of: Any, catalog: rows.Catalog) -> None:
    sent = client_of("operators").post(SEND, chat(catalog))
    assert (sent.status_code, sent.streaming) == (200, True)
    assert sent["Content-Type"] == "application/x-ndjson"
    assert "no-store" in sent["Cache-Control"]
