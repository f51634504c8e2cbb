"""Stripe's checkout page on a port of loopback: somebody pays there and is led back, and an event tells of it later."""

import hashlib
import hmac
import html
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.admin.stripe_server import StripeServer
from tests.admin.test_top_ups import EVENTS
from tests.edge.test_upstream import certificate

PAGE = """<!doctype html><html lang="en"><title>Pay</title><h1>{name}</h1>
<form method="post"><button>Pay {amount} {currency}</button></form></html>"""


class Checkout:
    """Who paid: `paid` has the references of checkouts, whose forms `stripe` was sent."""

    def __init__(self, stripe: StripeServer) -> None:
        self.stripe = stripe
        self.paid: list[str] = []

    def form_of(self, path: str) -> dict[str, str]:
        """What the checkout at this path was begun with."""
        [form] = [form for form, session in self.stripe.by_key.values() if session["url"].endswith(path)]
        return form

    def tell(self, hook_url: str, secret: str) -> str:
        """The signed event of the last payment; what the relay made of it."""
        reference = self.paid[-1]
        form = self.form_of(f"/{reference}")
        text = (EVENTS / "completed.json").read_text().replace("@top_up@", form["metadata[relay_top_up]"])
        event = json.loads(text)
        event["data"]["object"] |= {
            "id": reference,
            "amount_total": int(form["line_items[0][price_data][unit_amount]"]),
        }
        body, at = json.dumps(event).encode(), int(time.time())
        digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        request = urllib.request.Request(hook_url, body)
        request.add_header("Content-Type", "application/json")
        request.add_header("Stripe-Signature", f"t={at},v1={digest}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(json.load(answer)["outcome"])


@contextmanager
def checkout_page(stripe: StripeServer, folder: Path) -> Iterator[Checkout]:
    """Serves the checkouts that are begun with `stripe`, by https with a certificate of its own."""
    state = Checkout(stripe)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            form = state.form_of(self.path)
            page = PAGE.format(
                name=html.escape(form["line_items[0][price_data][product_data][name]"]),
                amount=form["line_items[0][price_data][unit_amount]"],
                currency=form["line_items[0][price_data][currency]"],
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            state.paid.append(self.path.rpartition("/")[2])
            self.send_response(303)
            self.send_header("Location", state.form_of(self.path)["success_url"])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tls = certificate("127.0.0.1", folder).context
    tls.set_alpn_protocols(["http/1.1"])
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    stripe.checkout_url = f"https://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
