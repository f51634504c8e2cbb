"""What a hostile or careless caller sends to the real edge: a clear error each time, and nothing stored."""

import json
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.system.product import Product

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

CHAT = "/v1/chat/completions"
EVENTS = "/r/demo/v1/events"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return dict(json.loads(self.body))


def send(product: Product, raw: bytes) -> Answer:
    """Raw bytes in, the answer out; reads until the edge closes or the answer is whole."""
    url = urlsplit(product.edge_url)
    with socket.create_connection((url.hostname, url.port), timeout=20) as connection:
        connection.sendall(raw)
        received = b""
        while b"\r\n\r\n" not in received:
            received += _more(connection)
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        while len(body) < int(headers.get("content-length", 0)):
            body += _more(connection)
    return Answer(int(lines[0].split()[1]), headers, body)


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    assert data, "the edge closed without an answer"
    return data


def post(product: Product, path: str, body: bytes, *lines: str, key: str | None = None, method: str = "POST") -> Answer:
    """A POST with the relay key, and what the test adds."""
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key or product.relay_key}",
            "Content-Type: application/json", *lines]  # fmt: skip
    if not any(line.lower().startswith(("transfer-encoding", "content-length")) for line in lines):
        head.append(f"Content-Length: {len(body)}")
    return send(product, "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)


def newest(product: Product) -> object:
    """The newest delivery of the demo project: changes with every accepted call."""
    return [delivery["id"] for delivery in product.api("/api/v1/deliveries?project=demo&limit=1")["results"]]


def openai_code(answer: Answer) -> object:
    error = answer.json["error"]
    assert isinstance(error, dict)
    assert error["message"]
    return error["code"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b'{"model": 7}', b'\xff\xfe{"model":"demo-gpt"}', b"{}",
                                  b'{"model":"demo-gpt","messages":' + b"[" * 100_000])  # fmt: skip
def test_malformed_json_is_400(product: Product, body: bytes) -> None:
    answer = post(product, CHAT, body)
    assert answer.status == 400
    assert openai_code(answer) in {"malformed_json", "bad_request", "bad_field"}


def test_unknown_model_is_404_in_each_shape(product: Product) -> None:
    body = b'{"model":"no-such","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
    chat = post(product, CHAT, body)
    assert (chat.status, openai_code(chat)) == (404, "model_not_found")
    message = post(product, "/v1/messages", body, "anthropic-version: 2023-06-01")
    assert message.status == 404
    assert message.json["type"] == "error"
    assert message.json["error"]["type"] == "not_found_error"  # type: ignore[index]  # an object, by the line above


@pytest.mark.parametrize("path", ["/r/nowhere/v1/events", "/r/demo/v9/events", "/r/demo/v1/nothing", "/r/demo/v1",
                                  "/r/demo/v1/events/more", "/r/demo/../v1/events", "/r/demo/v1/%00"])  # fmt: skip
def test_unknown_address_is_404(product: Product, path: str) -> None:
    answer = post(product, path, b"{}")
    assert answer.status == 404
    assert answer.json["error"] in {"endpoint_not_found", "not_found"}


@pytest.mark.parametrize(("path", "allowed"), [(CHAT, "POST"), (EVENTS, "POST"), ("/v1/models", "GET")])
def test_wrong_method_is_405(product: Product, path: str, allowed: str) -> None:
    answer = post(product, path, b"", method="DELETE")
    assert answer.status == 405
    assert allowed in answer.headers["allow"]


@pytest.mark.parametrize("path", [CHAT, EVENTS, "/v1/messages", "/v1/models"])
@pytest.mark.parametrize("key", ["", "rk_live_short", "rk_live_" + "A" * 50, "sk-something", "\xe9"])
def test_a_bad_key_is_401(product: Product, path: str, key: str) -> None:
    method = "GET" if path == "/v1/models" else "POST"
    answer = post(product, path, b"{}" if method == "POST" else b"", key=key or " ", method=method)
    assert answer.status == 401
    assert key not in answer.body.decode() or not key


@pytest.mark.parametrize("framing", ["fixed", "chunked"])
def test_an_oversize_body_is_413_and_nothing_is_stored(product: Product, framing: str) -> None:
    before = newest(product)
    size = 1_048_577  # one more than the demo endpoint takes
    if framing == "fixed":
        answer = post(product, EVENTS, b"", f"Content-Length: {size}")
    else:
        chunk = b"%x\r\n" % 65536 + b"x" * 65536 + b"\r\n"
        answer = post(product, EVENTS, chunk * 17, "Transfer-Encoding: chunked")
    assert (answer.status, answer.json["error"]) == (413, "body_too_large")
    assert newest(product) == before


def test_a_body_of_exactly_the_limit_is_taken(product: Product) -> None:
    assert post(product, EVENTS, b"x" * 1_048_576).status == 202


def test_any_bytes_are_a_body(product: Product) -> None:
    answer = post(product, EVENTS, bytes(range(256)))
    assert answer.status == 202
    assert answer.headers["relay-durability"] == "committed"


@pytest.mark.parametrize(
    "line", ["X-Event: a\x00b", "X-Event: a\rInjected: 1", "X-Ev ent: a", "X-Event: " + "a" * 70_000]
)
def test_a_header_that_http_does_not_allow_is_refused(product: Product, line: str) -> None:
    before = newest(product)
    assert post(product, EVENTS, b"{}", line).status in {400, 431}
    assert newest(product) == before


def test_two_lengths_are_refused(product: Product) -> None:
    answer = post(product, EVENTS, b"{}", "Content-Length: 2", "Transfer-Encoding: chunked")
    assert answer.status == 400


def test_a_request_id_with_strange_characters_is_not_echoed(product: Product) -> None:
    answer = post(product, CHAT, b"{", "X-Request-Id: <script>\x7f")
    assert "<script>\x7f" not in answer.headers["x-request-id"]


def test_a_request_id_is_echoed(product: Product) -> None:
    assert post(product, CHAT, b"{", "X-Request-Id: order-42").headers["x-request-id"] == "order-42"
