"""Alerts: what is wrong opens an event of its rule and is told, as a delivery like any other; so is its end. What stays
wrong is told again, each time that the rule's `remind_seconds` are over.

Every worker looks, each INTERVAL_SECONDS, on a connection of its own; a unique index lets one of them open an event,
and an event is closed once, and reminded of once a time. Event and request are one transaction: nothing is opened that
is not told. Without
rules and open events it is two small statements. Requests of alerts cost nothing, and nothing about them is an alert.
"""

import asyncio
import json
import logging
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from delivery.alert_findings import STATEMENTS
from delivery.database import Connection, DatabaseAway, Outage
from relay_contract import intake
from relay_contract.ids import uuid7, uuid7_bound
from relay_contract.logs import log_fields
from relay_contract.nouns import DeliveryMode, KeyMode

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0
_DAY_MS = 86_400_000
_PATH = "/alerts"
_OWN_ADDRESS = "127.0.0.1"

_RULE_KINDS = "SELECT DISTINCT kind FROM deliveries_alertrule WHERE is_enabled"
_OPEN_EVENTS = """
SELECT v.id, v.rule_id, r.endpoint_id, v.subject, r.kind, v.details,
    r.remind_seconds > 0 AND v.told_at <= now() - make_interval(secs => r.remind_seconds)
FROM deliveries_alertevent v JOIN deliveries_alertrule r ON r.id = v.rule_id WHERE v.closed_at IS NULL
"""
_OPEN = """
INSERT INTO deliveries_alertevent (rule_id, subject, request_id, details) VALUES (%s, %s, %s, %s)
ON CONFLICT (rule_id, subject) WHERE closed_at IS NULL DO NOTHING RETURNING opened_at, reminder_count
"""
# Decided again under the row's lock: of many workers that saw it due, one reminds.
_REMIND = """
UPDATE deliveries_alertevent v SET told_at = now(), last_seen_at = now(), reminder_count = reminder_count + 1
FROM deliveries_alertrule r
WHERE v.id = %s AND r.id = v.rule_id AND v.closed_at IS NULL
    AND v.told_at <= now() - make_interval(secs => r.remind_seconds)
RETURNING v.opened_at, v.reminder_count
"""
_CLOSE = """
UPDATE deliveries_alertevent SET closed_at = now() WHERE id = %s AND closed_at IS NULL
RETURNING opened_at, reminder_count
"""
_SEEN = """
UPDATE deliveries_alertevent SET last_seen_at = now()
WHERE id = ANY(%b::bigint[]) AND last_seen_at < now() - interval '1 minute' RETURNING id
"""
_ENDPOINT = """
SELECT l.project_id, l.id, l.revision, t.id, t.is_enabled, t.expire_seconds
FROM catalog_endpoint e JOIN catalog_line l ON l.id = e.line_id
LEFT JOIN catalog_target t ON t.endpoint_id = e.id AND t.delivery_mode = 'async' AND t.role = 'live'
WHERE e.id = %s ORDER BY t.id
"""


class Status(StrEnum):
    """What an alert says of its event."""

    OPEN = "open"
    REMINDER = "reminder"
    RESOLVED = "resolved"


class Finding(NamedTuple):
    """Something that is wrong, in the eyes of a rule."""

    rule_id: int
    endpoint_id: int  # that is told
    subject: str
    kind: str
    details: dict[str, Any]


class Alerts:
    """One for each worker process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def run(self) -> None:
        """For the life of the process; ends by cancellation."""
        outage = Outage("alerts")
        while True:
            try:
                await self.look()
                outage.is_over()
            except DatabaseAway as away:
                outage.goes_on(away)
            except psycopg.Error as error:  # an alert that fails stops no delivery
                logger.error("alerts_failed", extra=log_fields(reason=type(error).__name__))  # noqa: TRY400
            await asyncio.sleep(INTERVAL_SECONDS)

    async def look(self) -> None:
        """Opens, keeps and closes what has to be. Raises DatabaseAway."""
        kinds = [kind for (kind,) in await self._connection.rows(_RULE_KINDS, ())]
        found = {(one.rule_id, one.subject): one for kind in kinds for one in await self._findings(kind)}
        opened = {(row[1], row[3]): row for row in await self._connection.rows(_OPEN_EVENTS, ())}
        kept = found.keys() & opened.keys()
        for place in found.keys() - opened.keys():
            await self._open(found[place])
        for place in opened.keys() - found.keys():
            event_id, *rest, _ = opened[place]
            await self._change(_CLOSE, [event_id], Finding(*rest), Status.RESOLVED)
        for place in kept:
            event_id, *_, is_due = opened[place]
            if is_due:
                await self._change(_REMIND, [event_id], found[place], Status.REMINDER)
        if kept:
            await self._connection.rows(_SEEN, ([opened[place][0] for place in kept],))

    async def _findings(self, kind: str) -> list[Finding]:
        if kind not in STATEMENTS:  # of a newer version of the relay
            return []
        since = (uuid7_bound(int(time.time() * 1000) - _DAY_MS),) if "%b" in STATEMENTS[kind] else ()
        rows = await self._connection.rows(STATEMENTS[kind], since)
        return [
            Finding(rule_id, endpoint_id, subject, kind, details) for rule_id, endpoint_id, subject, details in rows
        ]

    async def _open(self, found: Finding) -> None:
        request_id = uuid7()
        given = [found.rule_id, found.subject, request_id, Jsonb(found.details)]
        await self._change(_OPEN, given, found, Status.OPEN, request_id)

    async def _change(
        self, statement: str, given: list[Any], found: Finding, status: Status, request_id: UUID | None = None
    ) -> None:
        """Change the event and tell of it, unless another worker did. The statement returns since when, and how often
        it was told again."""

        async def work(connection: psycopg.AsyncConnection[Any]) -> None:
            changed = await (await connection.execute(statement, given)).fetchone()
            if changed is not None:
                opened_at, reminders = changed
                told = {"status": status.value, "openedAt": opened_at.isoformat(), "reminders": reminders}
                await _tell(connection, request_id or uuid7(), found, type_of(found.kind, status), told)

        await self._connection.run_in_transaction(work)


def type_of(kind: str, status: Status) -> str:
    """The event type that targets see: `target_failing` -> `relay.target.failing`, of its end with `.recovered`."""
    return f"relay.{kind.replace('_', '.', 1)}{'.recovered' if status is Status.RESOLVED else ''}"


async def _tell(
    connection: psycopg.AsyncConnection[Any], request_id: UUID, found: Finding, event_type: str, told: dict[str, Any]
) -> None:
    """Queues the alert for the targets of its rule's endpoint."""
    rows = await (await connection.execute(_ENDPOINT, [found.endpoint_id])).fetchall()
    if not rows:
        return  # the endpoint was deleted, and the rule with it
    [(project_id, line_id, revision, *_), *_] = rows
    at = datetime.now(UTC)
    data = {"kind": found.kind, "subject": found.subject, **told, **found.details}
    body = json.dumps({"type": event_type, "timestamp": at.isoformat(), "data": data}).encode()
    targets = [row[3:] for row in rows if row[3] is not None]
    request = intake.RequestRow(
        id=request_id,
        project_id=project_id,
        line_id=line_id,
        endpoint_id=found.endpoint_id,
        relay_key_id=None,
        mode=KeyMode.LIVE.value,
        origin=intake.Origin.ALERT.value,
        received_at=at,
        revision=revision,
        method="POST",
        path=_PATH,
        query="",
        event_type=event_type,
        caller_request_id="",
        client_ip=_OWN_ADDRESS,
        content_type="application/json",
        headers="{}",
        body_bytes=len(body),
        target_count=len(targets),
        filtered_count=0,
        status=202,
        error="",
        idempotency_key="",
        accept_us=0,
    )
    parameters = [
        *intake.arrays(intake.RequestRow, [request]),
        *intake.arrays(intake.PayloadRow, [intake.PayloadRow(request_id, at, body)]),
        *intake.arrays(intake.DeliveryRow, [_delivery(request, *target) for target in targets]),
    ]
    await connection.execute(intake.INSERT_BATCH, parameters)
    logger.warning("alert_told", extra=log_fields(kind=event_type, subject=found.subject, request_id=str(request_id)))


def _delivery(request: intake.RequestRow, target_id: int, is_enabled: bool, expire_seconds: int) -> intake.DeliveryRow:
    return intake.DeliveryRow(
        id=uuid7(),
        request_id=request.id,
        project_id=request.project_id,
        target_id=target_id,
        shard=intake.shard_of(target_id),
        mode=DeliveryMode.ASYNC.value,
        is_shadow=False,
        is_compared=False,
        key_mode=request.mode,
        state=(intake.DeliveryState.PENDING if is_enabled else intake.DeliveryState.HELD).value,
        revision=request.revision,
        created_at=request.received_at,
        expire_seconds=expire_seconds,
        ordering_key=None,
        body_bytes=request.body_bytes,
        credits=0,
        relay_key_id=None,
        units=0,
    )
