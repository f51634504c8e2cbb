"""The demo's receiver of webhooks: shows what arrived, checks its signature, fails or answers on request.

It keeps the last 500 deliveries in memory, 64 KiB of each body; nothing is written. Everything on the page came from
outside and is escaped. The name `flaky` fails with 500 until it is told to recover, so that the failure queue has
something to show.
"""

from __future__ import annotations

import asyncio
import hmac
import html
import re
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from aiohttp import web

from relay_contract import headers
from relay_contract.signing import SigningKey, parse_secret

KEPT_DELIVERIES = 500
KEPT_BODY_BYTES = 64 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024
SHOWN_BODY_CHARACTERS = 2000
CLOCK_TOLERANCE_SECONDS = 300  # Standard Webhooks: refuse what is older, it may be a replayed capture
FAILING_AT_START = frozenset({"flaky"})
STREAM_PAUSE_SECONDS = 0.2
MAX_EVENTS = 1_000
MAX_NAMES = 100  # switches and counters of so many names; more names are shown, not switched
MAX_DELAY_SECONDS = 120

_SECONDS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,6}", re.ASCII)
_UNIX_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
NAME = "{name:[A-Za-z0-9][A-Za-z0-9_.-]{0,62}}"


@dataclass(slots=True, frozen=True)
class Delivery:
    """One call that arrived, and what was answered."""

    received_at: str  # ISO 8601, UTC
    name: str
    webhook_id: str
    delivery_id: str
    attempt: str
    replay: str
    signature: str  # "verified", "unchecked", or why it was refused
    status: int
    content_type: str
    body: str


class Sink:
    """What was received and who fails. `secret` None takes deliveries without a look at their signature."""

    def __init__(self, secret: str | None) -> None:
        self._key: SigningKey | None = None if secret is None else parse_secret(secret)
        self._deliveries: deque[Delivery] = deque(maxlen=KEPT_DELIVERIES)
        self._failing: set[str] = set(FAILING_AT_START)
        self._received: Counter[str] = Counter()

    async def receive(self, request: web.Request) -> web.Response:
        """POST /hooks/{name}: 204 for a good delivery, 401 for a bad signature, 500 while the name fails."""
        signature, status, _ = await self._take(request, 204)
        text = {204: None, 500: "told to fail\n"}.get(status, f"{signature}\n")
        return web.Response(status=status, text=text)

    async def look_up(self, request: web.Request) -> web.Response:
        """/lookups/{name}: the same, with an answer for whoever waits; `?delay=` says for how many seconds it does."""
        signature, status, body = await self._take(request, 200)
        delay = request.query.get("delay", "0")
        if _SECONDS.fullmatch(delay):
            await asyncio.sleep(min(float(delay), MAX_DELAY_SECONDS))
        if status != 200:
            return web.json_response({"error": "told to fail" if status == 500 else signature}, status=status)
        found = {"found": request.match_info["name"], "asked": body.decode(errors="replace"), "method": request.method}
        return web.json_response(found, headers={"X-Sink-Lookup": request.match_info["name"]})

    async def _take(self, request: web.Request, good_status: int) -> tuple[str, int, bytes]:
        """Keep what arrived; what its signature is worth, what to answer, and its body."""
        name, body = request.match_info["name"], await request.read()
        signature = self._check(request, body)
        is_good = signature in {"verified", "unchecked"}
        status = (500 if name in self._failing else good_status) if is_good else 401
        if name in self._received or len(self._received) < MAX_NAMES:
            self._received[name] += 1
        self._deliveries.append(
            Delivery(
                received_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                name=name,
                webhook_id=request.headers.get("webhook-id", ""),
                delivery_id=request.headers.get(headers.DELIVERY_ID, ""),
                attempt=request.headers.get(headers.ATTEMPT, ""),
                replay=request.headers.get(headers.REPLAY, ""),
                signature=signature,
                status=status,
                content_type=request.headers.get("Content-Type", ""),
                body=body[:KEPT_BODY_BYTES].decode(errors="replace"),
            )
        )
        return signature, status, body

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """POST /streams/{name}: an event each STREAM_PAUSE_SECONDS, `?events=` of them; 401 for a bad signature."""
        body = await request.read()
        signature = self._check(request, body)
        if signature not in {"verified", "unchecked"}:
            return web.Response(status=401, text=f"{signature}\n")
        events = request.query.get("events", "5")
        last = min(int(events), MAX_EVENTS) if _COUNT.fullmatch(events) else 5
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        with suppress(ConnectionResetError):  # whoever reads it has seen enough
            await response.prepare(request)
            for number in range(1, last + 1):
                await response.write(b'id: %d\ndata: {"number":%d,"of":%d}\n\n' % (number, number, last))
                await asyncio.sleep(STREAM_PAUSE_SECONDS)
            await response.write(b"event: done\ndata: {}\n\n")
        return response

    async def fail(self, request: web.Request) -> web.StreamResponse:
        """POST /hooks/{name}/fail: answer this name's deliveries with 500 from now on."""
        if len(self._failing) >= MAX_NAMES:
            raise web.HTTPConflict(text=f"{MAX_NAMES} names fail already; recover one first\n")
        self._failing.add(request.match_info["name"])
        return self._switched(request)

    async def recover(self, request: web.Request) -> web.StreamResponse:
        """POST /hooks/{name}/recover: take this name's deliveries again."""
        self._failing.discard(request.match_info["name"])
        return self._switched(request)

    async def deliveries(self, request: web.Request) -> web.Response:
        """GET /deliveries: newest first; `?name=` for one name."""
        name = request.query.get("name")
        chosen = [asdict(one) for one in reversed(self._deliveries) if name is None or one.name == name]
        return web.json_response(
            {"deliveries": chosen, "received": dict(self._received), "failing": sorted(self._failing)}
        )

    async def page(self, _request: web.Request) -> web.Response:
        """GET /: the same for people."""
        names = sorted(self._failing | set(self._received))
        text = _PAGE.format(
            switches="".join(_switch(name, self._received[name], name in self._failing) for name in names),
            rows="".join(_row(one) for one in reversed(self._deliveries)),
        )
        response = web.Response(text=text, content_type="text/html")
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _switched(self, request: web.Request) -> web.StreamResponse:
        if "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther("/")
        return web.json_response({"failing": sorted(self._failing)})

    def _check(self, request: web.Request, body: bytes) -> str:
        """ "verified", "unchecked" (no secret was given), or what is wrong with the signature."""
        if self._key is None:
            return "unchecked"
        message_id, timestamp = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
        if not message_id or not _UNIX_SECONDS.fullmatch(timestamp):
            return "webhook-id or webhook-timestamp is missing"
        if abs(time.time() - int(timestamp)) > CLOCK_TOLERANCE_SECONDS:
            return "webhook-timestamp is more than five minutes off"
        content = f"{message_id}.{timestamp}.".encode(errors="surrogateescape") + body
        expected = self._key.signature(content).encode()
        given = request.headers.get("webhook-signature", "").encode(errors="surrogateescape").split()
        if any(hmac.compare_digest(expected, one) for one in given):
            return "verified"
        return "webhook-signature does not match"


def application(secret: str | None) -> web.Application:
    """The sink's HTTP application. `secret` is the targets' signing secret, `whsec_...`."""
    sink = Sink(secret)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_get("/", sink.page)
    app.router.add_get("/deliveries", sink.deliveries)
    app.router.add_post(f"/hooks/{NAME}", sink.receive)
    app.router.add_route("*", f"/lookups/{NAME}", sink.look_up)
    app.router.add_post(f"/hooks/{NAME}/fail", sink.fail)
    app.router.add_post(f"/hooks/{NAME}/recover", sink.recover)
    app.router.add_post(f"/streams/{NAME}", sink.stream)
    app.router.add_get("/healthz", _healthz)
    return app


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _switch(name: str, received: int, is_failing: bool) -> str:
    state, verb, label = ("fails", "recover", "Let it recover") if is_failing else ("works", "fail", "Make it fail")
    shown = html.escape(name)
    return (
        f'<form method="post" action="/hooks/{shown}/{verb}"><b>{shown}</b> <span class="{state}">{state}</span> '
        f"{received} received <button>{label}</button></form>"
    )


def _row(one: Delivery) -> str:
    cells = [
        *(one.received_at, one.name, one.webhook_id, one.attempt, one.replay, one.signature, str(one.status)),
        one.body[:SHOWN_BODY_CHARACTERS],
    ]
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>\n"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="3"><title>Relay demo sink</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1f2430; background: #fafafa }}
table {{ border-collapse: collapse; width: 100%; background: #fff }}
th, td {{ border: 1px solid #ddd; padding: .3rem .6rem; text-align: left; vertical-align: top; font-size: 13px }}
td:last-child {{ font-family: ui-monospace, monospace; white-space: pre-wrap; word-break: break-word }}
form {{ display: inline-block; margin: 0 1rem 1rem 0; padding: .5rem .8rem; background: #fff; border: 1px solid #ddd }}
.fails {{ color: #b3261e }} .works {{ color: #1b7f3b }}
</style></head><body>
<h1>Relay demo sink</h1>
<p>What the demo targets received, newest first. The same as JSON: <a href="/deliveries">/deliveries</a></p>
{switches}
<table><thead><tr><th>Received</th><th>Target</th><th>webhook-id</th><th>Attempt</th><th>Replay</th><th>Signature</th>
<th>Answered</th><th>Body</th></tr></thead><tbody>
{rows}</tbody></table></body></html>
"""
