"""One request as its page shows it: what became of it over time, as bars in percent, and what it cost. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from relay_admin.deliveries.models import Attempt, AttemptOutcome, Delivery, Request, RequestEnd
from relay_admin.ledger.models import Charge
from relay_admin.traffic.trace_view import Bar, Row, time_text
from relay_contract.credits import MICRO

MAX_ROWS = 60
_MILLISECOND = timedelta(milliseconds=1)
_MICROSECOND = timedelta(microseconds=1)


def timeline(request: Request, deliveries: Sequence[Delivery], end: RequestEnd | None) -> list[Row]:
    """From the call's first byte to the last thing that happened, a row for each step; at most MAX_ROWS."""
    spans = list(_spans(request, deliveries, end))[:MAX_ROWS]
    began = request.received_at
    whole = max((until for _, _, _, _, _, until in spans), default=began) - began
    total = max(_MILLISECOND, whole)
    return [
        Row(
            name=name,
            detail=detail,
            outcome=outcome,
            is_failed=tone == "failed",
            duration=time_text((until - since) // _MICROSECOND),
            bars=(_bar(tone, max(since, began) - began, until - since, total),),
        )
        for name, detail, outcome, tone, since, until in spans
    ]


def _bar(tone: str, left: timedelta, width: timedelta, total: timedelta) -> Bar:
    title = f"{time_text(width // _MICROSECOND)}, after {time_text(left // _MICROSECOND)}"
    return Bar(tone, min(99.5, 100 * (left / total)), max(0.3, 100 * (width / total)), title)


_Span = tuple[str, str, str, str, datetime, datetime]
"""Name, detail, outcome, tone, since, until."""


def _spans(request: Request, deliveries: Sequence[Delivery], end: RequestEnd | None) -> Iterator[_Span]:
    began = request.received_at
    accepted = began + timedelta(microseconds=request.accept_us)
    yield ("Accepted" if not request.error else "Refused", request.method, "", "relay", began, accepted)
    if end is not None:
        detail = "stream" if end.is_stream else "sync"
        outcome = f"{end.status or ''} {end.close_reason or end.error}".strip()
        tone = "failed" if end.error else "answer"
        yield ("Caller's answer", detail, outcome, tone, began, began + timedelta(microseconds=end.total_us))
    for delivery in deliveries:
        name = getattr(delivery, "target_name", None) or f"(deleted target, {delivery.target_id})"
        yield from _attempt_spans(name, delivery, list(delivery.attempts.all()))


def _attempt_spans(name: str, delivery: Delivery, attempts: Sequence[Attempt]) -> Iterator[_Span]:
    if attempts:
        yield (name, "until its first attempt", "", "waiting", delivery.created_at, attempts[0].started_at)
    for attempt in attempts:
        tone = "answer" if attempt.outcome == AttemptOutcome.DELIVERED else "failed"
        replay = f" of replay {attempt.replay}" if attempt.replay else ""
        outcome = f"HTTP {attempt.status}" if attempt.status else attempt.error or attempt.outcome
        until = attempt.started_at + attempt.duration_ms * _MILLISECOND
        yield (name, f"attempt {attempt.number}{replay}", outcome, tone, attempt.started_at, until)


def add_charges(deliveries: Iterable[Delivery], charges: Iterable[Charge]) -> None:
    """Gives each delivery `charges_text`: what each of its turns held, and how that was closed."""
    by_delivery: dict[Any, list[str]] = {}
    for charge in charges:
        turn = f"replay {charge.replay} " if charge.replay else ""
        amount = f"{Decimal(charge.micro_credits) / MICRO:,.6f}".rstrip("0").rstrip(".")
        words = {"hold": "held", "settle": "settled", "release": "released"}
        by_delivery.setdefault(charge.delivery_id, []).append(f"{turn}{words[charge.kind]} {amount}")
    for delivery in deliveries:
        delivery.charges_text = ", ".join(by_delivery.get(delivery.pk, ()))  # type: ignore[attr-defined]
