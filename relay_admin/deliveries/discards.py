"""Taking deliveries out of the failure queue for good: nobody replays them, and nothing of their ordering key waits.

What they cost was closed when they died, and stays so. Their rows and attempts stay in the request log, with the reason
they died of.
"""

from collections.abc import Collection
from uuid import UUID

from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from relay_admin.access.models import User
from relay_admin.deliveries.models import Delivery
from relay_admin.deliveries.services import MAX_REPLAY
from relay_contract.intake import DeliveryState

# Locked in the order of replays: one that replays the same deliveries is waited for, and what it took is gone.
_DISCARD = f"""
WITH chosen AS (
    SELECT id FROM deliveries_finished WHERE id = ANY(%s) AND state = '{DeliveryState.DEAD}' ORDER BY id FOR UPDATE
)
UPDATE deliveries_finished AS finished SET state = '{DeliveryState.DISCARDED}'
FROM chosen WHERE finished.id = chosen.id
RETURNING finished.id
"""  # noqa: S608 (constants of the contract)


@transaction.atomic
def delivery_discard(*, delivery_ids: Collection[UUID], by: User | None) -> list[UUID]:
    """Those that were in the failure queue and are not any more; the others stay as they are.

    Raises ValidationError for none, or for more than a replay may name.
    """
    if not delivery_ids:
        raise ValidationError("Choose at least one delivery.")
    if len(delivery_ids) > MAX_REPLAY:
        raise ValidationError(f"At most {MAX_REPLAY} deliveries can be discarded at once.")
    with connection.cursor() as cursor:
        cursor.execute(_DISCARD, [sorted(set(delivery_ids))])
        discarded = [row[0] for row in cursor.fetchall()]
    if by is not None:
        LogEntry.objects.log_actions(by.pk, Delivery.objects.filter(pk__in=discarded), CHANGE, "Discarded.")
    return discarded
