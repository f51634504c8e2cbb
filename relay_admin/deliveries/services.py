"""Replay: rows of the failure queue become due again. Everything else about a delivery is the workers' to write."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection, transaction

from relay_admin.access.models import User
from relay_admin.catalog.models import Target
from relay_admin.deliveries.models import Delivery, Payload, ReplayBatch
from relay_contract.intake import DeliveryState

MAX_REPLAY = 10_000
"""Deliveries of one batch: its row names each of them."""

REFUSALS = {
    "not_found": "there is no such delivery",
    "not_dead": "it is not in the failure queue any more",
    "target_deleted": "its target was deleted",
    "payload_expired": "its body is past its retention",
}

# Rows are locked in one order, so that two people who replay overlapping selections wait and do not deadlock.
_REPLAY = """
    WITH chosen AS (
        SELECT d.id
        FROM deliveries_delivery d
        WHERE d.id = ANY(%(ids)s) AND d.state = %(dead)s
          AND EXISTS (SELECT 1 FROM catalog_target t WHERE t.id = d.target_id)
          AND EXISTS (SELECT 1 FROM deliveries_payload p WHERE p.request_id = d.request_id)
        ORDER BY d.id
        FOR UPDATE
    )
    UPDATE deliveries_delivery d
    SET state = %(pending)s, next_attempt_at = now(), claim_id = NULL, attempt_count = 0,
        replay_count = d.replay_count + 1, finished_at = NULL, dead_reason = ''
    FROM chosen
    WHERE d.id = chosen.id
    RETURNING d.id
"""


@transaction.atomic
def delivery_replay(*, delivery_ids: Iterable[UUID], by: User | None) -> ReplayBatch:
    """Make dead deliveries due now, with a fresh budget of attempts. Others are refused, each with a reason, unchanged.

    Returns the batch; `refused` maps delivery ids to keys of REFUSALS. ValidationError for none or above MAX_REPLAY.
    """
    wanted = sorted(set(delivery_ids))
    if not wanted:
        raise ValidationError("Choose at least one delivery.")
    if len(wanted) > MAX_REPLAY:
        raise ValidationError(
            f"One replay takes at most {MAX_REPLAY} deliveries. Filter the queue and replay in parts."
        )
    parameters: dict[str, Any] = {"ids": wanted, "dead": str(DeliveryState.DEAD), "pending": str(DeliveryState.PENDING)}
    with connection.cursor() as cursor:
        cursor.execute(_REPLAY, parameters)
        replayed = {row[0] for row in cursor.fetchall()}
    refused = _refusals([delivery_id for delivery_id in wanted if delivery_id not in replayed])
    return ReplayBatch.objects.create(
        created_by=by,
        requested_count=len(wanted),
        replayed_count=len(replayed),
        delivery_ids=[str(delivery_id) for delivery_id in wanted if delivery_id in replayed],
        refused={str(delivery_id): reason for delivery_id, reason in refused.items()},
    )


def _refusals(delivery_ids: list[UUID]) -> dict[UUID, str]:
    rows = Delivery.objects.in_bulk(delivery_ids)
    targets = set(Target.objects.filter(id__in={row.target_id for row in rows.values()}).values_list("id", flat=True))
    requests = {row.request_id for row in rows.values()}
    payloads = set(Payload.objects.filter(request_id__in=requests).values_list("request_id", flat=True))

    def reason(delivery_id: UUID) -> str:
        row = rows.get(delivery_id)
        if row is None:
            return "not_found"
        if row.state == DeliveryState.DEAD and row.target_id not in targets:
            return "target_deleted"
        if row.state == DeliveryState.DEAD and row.request_id not in payloads:
            return "payload_expired"
        return "not_dead"

    return {delivery_id: reason(delivery_id) for delivery_id in delivery_ids}
