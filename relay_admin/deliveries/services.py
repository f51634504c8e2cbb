"""Replay: rows of the failure queue become due again. Everything else about a delivery is the workers' to write."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from relay_admin.access.models import User
from relay_admin.catalog.models import Target
from relay_admin.deliveries.models import Delivery, Payload, ReplayBatch
from relay_contract.credits import UNITS_SQL
from relay_contract.intake import DeliveryState
from relay_contract.nouns import DEFAULT_EXPIRE_SECONDS, DeliveryMode

MAX_REPLAY = 10_000
"""Deliveries of one batch: its row names each of them."""

REFUSALS = {
    "not_found": "there is no such delivery",
    "not_dead": "it is not in the failure queue any more",
    "not_replayable": "its caller waited for the answer, and does not any more",
    "target_deleted": "its target was deleted",
    "payload_expired": "its body is past its retention",
}

_KEPT = (
    "id, request_id, project_id, target_id, shard, mode, is_shadow, is_compared, key_mode, revision, created_at,"
    " ordering_key, body_bytes, last_status, last_error"
)

# Rows are locked in one order, so that two people who replay overlapping selections wait and do not deadlock. A replay
# costs nothing, but is held and closed like everything that is delivered.
_REPLAY = f"""
    WITH chosen AS (
        SELECT d.id
        FROM deliveries_finished d
        WHERE d.id = ANY(%(ids)s) AND d.state = %(dead)s AND d.mode = %(mode)s
          AND EXISTS (SELECT 1 FROM catalog_target t WHERE t.id = d.target_id)
          AND EXISTS (SELECT 1 FROM deliveries_payload p WHERE p.request_id = d.request_id)
        ORDER BY d.id
        FOR UPDATE
    ),
    gone AS (
        DELETE FROM deliveries_finished d USING chosen WHERE d.id = chosen.id RETURNING d.*
    ),
    held AS (
        INSERT INTO ledger_charge (delivery_id, replay, phase, kind, request_id, project_id, relay_key_id, target_id,
            key_mode, micro_credits, units)
        SELECT id, replay_count + 1, 0, 'hold', request_id, project_id,
            (SELECT c.relay_key_id FROM ledger_charge c WHERE c.delivery_id = gone.id AND c.phase = 0
             ORDER BY c.replay LIMIT 1),
            target_id, key_mode, 0, {UNITS_SQL}
        FROM gone
    )
    INSERT INTO deliveries_live ({_KEPT}, state, next_attempt_at, expires_at, credits, replay_count, replay_batch_id)
    SELECT {_KEPT}, %(pending)s, now(), now() + make_interval(secs => %(expire)s), 0, replay_count + 1, %(batch)s
    FROM gone
    RETURNING id
"""  # noqa: S608 (constants of this file)


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
    batch = ReplayBatch.objects.create(
        created_by=by,
        filter={"ids": [str(delivery_id) for delivery_id in wanted]},
        matched_count=len(wanted),
        started_at=timezone.now(),
    )
    replayed = _replay(wanted, batch)
    refused = _refusals([delivery_id for delivery_id in wanted if delivery_id not in replayed])
    batch.replayed_count, batch.refused_count = len(replayed), len(refused)
    batch.refused = {str(delivery_id): reason for delivery_id, reason in refused.items()}
    batch.ended_at = timezone.now()
    batch.save()
    return batch


def _replay(wanted: Sequence[UUID], batch: ReplayBatch) -> set[UUID]:
    parameters: dict[str, Any] = {
        "ids": wanted,
        "dead": str(DeliveryState.DEAD),
        "pending": str(DeliveryState.PENDING),
        "mode": str(DeliveryMode.ASYNC),
        "expire": DEFAULT_EXPIRE_SECONDS,
        "batch": batch.pk,
    }
    with connection.cursor() as cursor:
        cursor.execute(_REPLAY, parameters)
        return {delivery_id for (delivery_id,) in cursor.fetchall()}


def _refusals(delivery_ids: list[UUID]) -> dict[UUID, str]:
    rows = Delivery.objects.in_bulk(delivery_ids)
    targets = set(Target.objects.filter(id__in={row.target_id for row in rows.values()}).values_list("id", flat=True))
    requests = {row.request_id for row in rows.values()}
    payloads = set(Payload.objects.filter(request_id__in=requests).values_list("request_id", flat=True))

    def reason(delivery_id: UUID) -> str:
        row = rows.get(delivery_id)
        if row is None:
            return "not_found"
        if row.state != DeliveryState.DEAD:
            return "not_dead"
        if row.mode != DeliveryMode.ASYNC:
            return "not_replayable"
        if row.target_id not in targets:
            return "target_deleted"
        if row.request_id not in payloads:
            return "payload_expired"
        return "not_dead"  # when it was its turn; dead again since

    return {delivery_id: reason(delivery_id) for delivery_id in delivery_ids}
