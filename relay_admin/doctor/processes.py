"""The control plane, the workers and the schedule: that they live, by what they leave behind."""

import http.client
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urlsplit

import redis
from django.utils import timezone

from relay_admin.doctor.finding import Finding, broken, ok, warning
from relay_admin.doctor.postgres import Database
from relay_admin.ledger.keeping import SILENT_SECONDS
from relay_admin.ledger.models import Keeping
from relay_contract.redis import keys

TIMEOUT_SECONDS = 5.0
LATE_SECONDS = 60

WORKER_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'relay-delivery-%'"
# Of what is due and nobody's; a lease is a due date as well.
_BACKLOG = """
SELECT coalesce(extract(epoch FROM now() - min(next_attempt_at)), 0)::int FROM deliveries_live
WHERE state = 'pending' AND mode = 'async'
"""


def control(control_url: str) -> Finding:
    """Asks it as people reach it, through whatever proxy stands before it."""
    parts = urlsplit(control_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"{parts.path}/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return broken(
            "control.reachable",
            f"{control_url} does not answer ({type(error).__name__})",
            "Start the control plane, or correct RELAY_CONTROL_URL and the proxy before it.",
        )
    finally:
        connection.close()
    if status != http.client.OK:
        return broken(
            "control.reachable",
            f"{control_url}/healthz answers {status}",
            "Its body says why; 400 means another host name.",
        )
    return ok("control.reachable", f"{control_url} answers")


def examine(database: Database) -> Iterator[Finding]:
    """What Postgres knows of workers."""
    [(connections,)] = database.execute(WORKER_CONNECTIONS)
    yield workers(connections)
    kept = Keeping.objects.first()
    yield keeper(None if kept is None else kept.at, timezone.now(), None if kept is None else kept.closed_since)
    [(late_seconds,)] = database.execute(_BACKLOG)
    yield backlog(late_seconds)


def workers(connections: int) -> Finding:
    """Their connections to Postgres; a worker has several."""
    if not connections:
        return broken("workers.alive", "no worker is connected to Postgres", "Start a worker: docs/deploy.md.")
    return ok("workers.alive", f"{connections} connections to Postgres")


def keeper(at: datetime | None, now: datetime, closed_since: datetime | None) -> Finding:
    """The worker that tells purses what they may spend; `at`: its last word."""
    if at is None or (now - at).total_seconds() > SILENT_SECONDS:
        said = "has never spoken" if at is None else f"has been silent for {int((now - at).total_seconds())} s"
        return broken(
            "workers.keeper", f"the keeper of purses {said}", "Start a worker of the lane async, and see its log."
        )
    if closed_since is not None:
        return warning(
            "workers.keeper",
            f"money has been closed for {int((now - closed_since).total_seconds())} s: prepaid calls are refused",
            "It opens when every edge has declared what it holds (docs/reconcile.md); see the edges' Redis.",
        )
    return ok("workers.keeper", "purses are kept, and money is open")


def backlog(late_seconds: int) -> Finding:
    """How long the oldest async delivery has been due."""
    if late_seconds > LATE_SECONDS:
        return warning(
            "workers.backlog",
            f"a delivery has been due for {late_seconds} s",
            "Run more workers, or see which target hangs.",
        )
    return ok("workers.backlog", f"the oldest delivery that is due has been for {max(0, late_seconds)} s")


def schedule(client: redis.Redis) -> Finding:
    """Each ten seconds a task of the schedule has a worker leave word."""
    if not client.exists(keys.SCHEDULE):
        return broken(
            "schedule.alive",
            f"no task of the schedule was done for {keys.SCHEDULE_SECONDS} s",
            "Start one schedule (celery beat), and a worker of the lane async; partitions and mails wait for it.",
        )
    return ok("schedule.alive", f"did something within {keys.SCHEDULE_SECONDS} s")
