"""Receives the webhooks of a relay: checks who signed, does each once, and says so when it could not.

    pip install relay-sdk
    RELAY_WEBHOOK_SECRET=whsec_... python receiver.py

`handle` is yours. PORT and SEEN (the file of what was done) may be set. While a secret is changed give both, "new old".
"""

import json
import os
import sqlite3
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from relay_sdk import WebhookError, verify_webhook

SECRETS = os.environ["RELAY_WEBHOOK_SECRET"].split()
SEEN = os.environ.get("SEEN", "seen.sqlite3")
MOST_BYTES = 1024 * 1024


def handle(event: Any) -> None:
    """Yours. Whatever it raises has the relay try again, by the target's schedule."""
    print("got", json.dumps(event), flush=True)


def once(webhook_id: str, event: Any) -> bool:
    """False for an event that was handled before. What fails is forgotten, and so handled again.

    A second copy that comes meanwhile waits here. An application with a database of its own puts the id into a unique
    column there, in the transaction of what it does.
    """
    with closing(sqlite3.connect(SEEN, timeout=60, isolation_level=None)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY)")
        database.execute("BEGIN IMMEDIATE")  # rolled back by what is raised below, and by a crash
        if not database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (webhook_id,)).rowcount:
            return False
        handle(event)
        database.execute("COMMIT")
        return True


class Receiver(BaseHTTPRequestHandler):
    """4xx: never send this again. 5xx: try again later. 204: it is done."""

    timeout = 30  # seconds for a caller who says nothing

    def do_POST(self) -> None:
        """One delivery."""
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > MOST_BYTES:
            return self.answer(413, "too large, or of no length")
        body = self.rfile.read(int(size))  # as it came: these bytes are what is signed
        try:
            webhook = verify_webhook(body, dict(self.headers), SECRETS)
        except WebhookError as problem:
            return self.answer(401, f"refused: {problem}")
        try:
            event = json.loads(body)
        except ValueError:
            return self.answer(400, f"{webhook.id} is no JSON")
        try:
            is_new = once(webhook.id, event)
        except Exception as failure:  # noqa: BLE001 (whatever it is, the relay has to hear of it)
            return self.answer(500, f"{webhook.id} failed: {failure!r}")
        return self.answer(204, f"{webhook.id} {'done' if is_new else 'seen before'}, attempt {webhook.attempt}")

    def answer(self, status: int, said: str) -> None:
        """The log has the reason; who calls gets a status alone."""
        print(status, said, flush=True)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """`answer` says it."""


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8095"))
    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    print(f"listening on http://127.0.0.1:{port}/", flush=True)
    server.serve_forever()
