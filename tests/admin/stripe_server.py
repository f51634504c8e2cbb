"""Stripe's checkout endpoint, as far as it is called, on a port of loopback. Refuses what Stripe would refuse."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl

NEEDED = {
    "mode",
    "client_reference_id",
    "success_url",
    "cancel_url",
    "adaptive_pricing[enabled]",
    "line_items[0][quantity]",
    "line_items[0][price_data][currency]",
    "line_items[0][price_data][unit_amount]",
    "line_items[0][price_data][product_data][name]",
    "metadata[relay_top_up]",
    "payment_intent_data[metadata][relay_top_up]",
}


class StripeServer:
    """What it was asked, and how it answers."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.by_key: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self.problems: list[str] = []
        self.answer: tuple[int, bytes] | None = None
        self.url = ""
        self.checkout_url = "https://checkout.stripe.com"

    def answered(self, headers: Any, form: dict[str, str]) -> tuple[int, bytes]:
        """By Idempotency-Key: the same again for the same form, and an error for another one."""
        wanted = {
            "authorization": "Bearer sk_live_51secret",
            "stripe-version": "2024-11-20.acacia",
            "content-type": "application/x-www-form-urlencoded",
        }
        self.problems += [f"{name}: {headers.get(name)}" for name in wanted if headers.get(name) != wanted[name]]
        if set(form) != NEEDED:
            self.problems.append(f"fields: {set(form) ^ NEEDED}")
        self.forms.append(form)
        if self.answer is not None:
            return self.answer
        key = headers["idempotency-key"]
        if key not in self.by_key:
            reference = f"cs_live_{len(self.by_key) + 1}"
            self.by_key[key] = form, {"id": reference, "url": f"{self.checkout_url}/c/pay/{reference}"}
        first, session = self.by_key[key]
        if first != form:
            return 400, b'{"error": {"type": "idempotency_error", "message": "Keys for idempotent requests"}}'
        return 200, json.dumps(session).encode()


@contextmanager
def stripe_server() -> Iterator[StripeServer]:
    """One that fails the test for a call that Stripe would not take."""
    state = StripeServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            if self.path != "/v1/checkout/sessions":
                state.problems.append(self.path)
            status, answer = state.answered(self.headers, dict(parse_qsl(body, strict_parsing=True)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert state.problems == []
