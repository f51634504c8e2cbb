"""`relay listen`: the calls of an endpoint, on this machine, as its targets get them.

It follows the request log and posts each accepted call to a local address, signed with a secret of its own. The relay
is not told what the local program answers, and its targets get the call as ever. What the log hides or cuts (secrets,
redacted fields, text beyond 16 KiB, bytes that are no text) is not to be had here.
"""

from __future__ import annotations

import base64
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TextIO

import httpx2

from relay_sdk.client import Relay
from relay_sdk.webhooks import sign_webhook

POLL_SECONDS = 1.0
_LATE_SECONDS = 5.0  # a row may be there later than one that came after it
_LOCAL_SECONDS = 30.0


def new_secret() -> str:
    """To verify with, while this runs."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def followed(
    relay: Relay, filters: dict[str, str | None], sleep: Callable[[float], None] = time.sleep
) -> Iterator[dict[str, Any]]:
    """Requests that come from now on, oldest first, each once. Never ends by itself."""
    since = datetime.now(UTC)
    seen: dict[str, datetime] = {}
    while True:
        rows = [row for row in relay.account.requests(**filters, since=since.isoformat()) if row["id"] not in seen]
        for row in reversed(rows):
            seen[row["id"]] = received = datetime.fromisoformat(row["receivedAt"])
            since = max(since, received - timedelta(seconds=_LATE_SECONDS))
            yield row
        seen = {name: at for name, at in seen.items() if at >= since}
        sleep(POLL_SECONDS)


def listen(relay: Relay, endpoint: str, forward_to: str, secret: str, out: TextIO = sys.stdout) -> None:
    """Until it is interrupted."""
    with httpx2.Client(timeout=_LOCAL_SECONDS) as local:
        for row in followed(relay, {"endpoint": endpoint}):
            if not row["error"]:
                print(forwarded(relay, local, row["id"], forward_to, secret), file=out, flush=True)


def forwarded(relay: Relay, local: httpx2.Client, request_id: str, forward_to: str, secret: str) -> str:
    """Posts one call to the local address; a line that says what became of it."""
    content = relay.get(f"{relay.control_url}/api/v1/requests/{request_id}", content=True)["content"]
    shown = content["body"]
    if shown is None or shown["kind"] != "text":
        return f"{request_id}  not forwarded: {content['note'] or 'its body is no text'}"
    body = shown["text"].encode()
    kind = {name.lower(): value for name, value in content["headers"].items()}.get("content-type", "application/json")
    headers = {"content-type": kind, **sign_webhook(body, webhook_id=request_id, secret=secret)}
    try:
        answer = local.post(forward_to, content=body, headers=headers)
    except httpx2.RequestError as error:
        return f"{request_id}  {forward_to}: {type(error).__name__}: {error}"
    return f"{request_id}  {answer.status_code} {len(body)} bytes"
