"""What Celery may run, thin. Each may run twice, late or never without harm."""

from datetime import UTC, datetime

from redis import Redis

from delivery.app import app, resident, settings
from relay_admin.access.acting import Via, acting_as
from relay_admin.access.audit import audit_forget
from relay_admin.access.key_successors import relay_keys_rotate_due
from relay_admin.access.mails import mails_send
from relay_admin.access.oauth.keys import signing_keys_turn
from relay_admin.access.oauth.revocation import tokens_forget
from relay_admin.access.session_services import sessions_forget
from relay_admin.access.tickets import tickets_forget
from relay_admin.catalog.lines import drafts
from relay_admin.deliveries import retention, storage
from relay_admin.ledger.invoices import invoices_issue, month_before
from relay_admin.ledger.low_balances import low_balances_tell
from relay_admin.ledger.runs import reconcile_run
from relay_admin.traffic.retention import traffic_forget
from relay_contract.intake import MAX_SHARDS
from relay_contract.messages import DRAIN_TASK
from relay_contract.redis import keys


@app.task(name=DRAIN_TASK)  # type: ignore[untyped-decorator]  # celery has no types
def drain(shard: object) -> None:
    """Deliver what is due in a shard; returns when nothing is. Ends early at shutdown: what is left stays due."""
    # Whatever came out of the broker: it fails this message alone, and not the claims of every shard.
    if not isinstance(shard, int) or not 0 <= shard < MAX_SHARDS:
        raise ValueError("no shard of the async lane")
    resident.drain(shard)


@app.task(name="schedule.heard")  # type: ignore[untyped-decorator]  # as above
def hear_schedule() -> None:
    """Leave word that the schedule hands out tasks, and workers do them."""
    with Redis.from_url(settings.redis_url, socket_timeout=5, socket_connect_timeout=5) as client:
        client.set(keys.SCHEDULE, 1, ex=keys.SCHEDULE_SECONDS)


@app.task(name="deliveries.retention")  # type: ignore[untyped-decorator]  # as above
def forget() -> None:
    """Delete what is past its retention."""
    retention.requests_forget(
        requests_days=settings.retention_days,
        payloads_days=settings.payload_retention_days,
        ledger_days=settings.ledger_retention_days,
    )
    retention.delivered_bodies_forget(payloads_days=settings.payload_retention_days)
    retention.keys_forget()


@app.task(name="deliveries.partitions")  # type: ignore[untyped-decorator]  # as above
def partition() -> None:
    """Make the partitions of the days to come."""
    storage.partitions_ensure()


@app.task(name="catalog.scheduled")  # type: ignore[untyped-decorator]  # as above
def publish() -> None:
    """Publish drafts of lines whose time has come."""
    with acting_as(Via.WORKER, "catalog.scheduled"):
        drafts.publish_due()


@app.task(name="traffic.retention")  # type: ignore[untyped-decorator]  # as above
def forget_traffic() -> None:
    """Delete what is past its retention."""
    traffic_forget(
        calls_days=settings.call_retention_days,
        traces_days=settings.trace_retention_days,
        captures_days=settings.capture_retention_days,
    )


@app.task(name="audit.retention")  # type: ignore[untyped-decorator]  # as above
def forget_audit() -> None:
    """Delete what is past its retention."""
    audit_forget(days=settings.audit_retention_days)


@app.task(name="access.sessions")  # type: ignore[untyped-decorator]  # as above
def forget_sessions() -> None:
    """Delete sessions, and links of mails, that have expired."""
    sessions_forget()
    tickets_forget()


@app.task(name="access.mails")  # type: ignore[untyped-decorator]  # as above
def send_mails() -> None:
    """Send the mails that are due."""
    with acting_as(Via.WORKER, "access.mails"):
        mails_send()


@app.task(name="access.keys")  # type: ignore[untyped-decorator]  # as above
def rotate_keys() -> None:
    """Make the successors of relay keys that are rotated by themselves."""
    with acting_as(Via.WORKER, "access.keys"):
        relay_keys_rotate_due()


@app.task(name="access.tokens")  # type: ignore[untyped-decorator]  # as above
def turn_signing_keys() -> None:
    """Make the next signing key where it is time; delete codes and tokens that can mean nothing any more."""
    with acting_as(Via.WORKER, "access.tokens"):
        signing_keys_turn()
        tokens_forget()


@app.task(name="ledger.low_balances")  # type: ignore[untyped-decorator]  # as above
def tell_low_balances() -> None:
    """Queue the mails about wallets that run low."""
    with acting_as(Via.WORKER, "ledger.low_balances"):
        low_balances_tell()


@app.task(name="ledger.invoices")  # type: ignore[untyped-decorator]  # as above
def issue_invoices() -> None:
    """Issue those of the last month that are not there yet."""
    invoices_issue(month_before(datetime.now(UTC).date()))


@app.task(name="ledger.reconcile")  # type: ignore[untyped-decorator]  # as above
def reconcile() -> None:
    """Compare what is kept twice, and keep what differs."""
    reconcile_run()
