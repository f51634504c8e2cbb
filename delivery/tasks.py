"""What Celery may run, thin. Each may run twice, late or never without harm."""

from delivery.app import app, resident, settings
from relay_admin.deliveries import retention
from relay_contract.messages import DRAIN_TASK


@app.task(name=DRAIN_TASK)  # type: ignore[untyped-decorator]  # celery has no types
def drain(shard: int) -> None:
    """Deliver what is due in a shard; returns when nothing is. Ends early at shutdown: what is left stays due."""
    resident.drain(shard)


@app.task(name="deliveries.retention")  # type: ignore[untyped-decorator]  # as above
def forget() -> None:
    """Delete what is past its retention."""
    retention.requests_forget(older_than_days=settings.retention_days)
