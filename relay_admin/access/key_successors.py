"""Successors of relay keys that are made by themselves, and the one time that their token is read.

The token waits in the row of the key that it succeeds, sealed and bound to that row. Reading it and taking it away are
one transaction under the row's lock, so of many who ask at once one is told.
"""

import logging
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import DurationField, ExpressionWrapper, F
from django.utils import timezone

from relay_admin.access.models import RelayKey
from relay_admin.access.services import MintedRelayKey, relay_key_rotate
from relay_admin.catalog.services import sealer
from relay_contract.logs import log_fields
from relay_contract.nouns import relay_key_successor_binding

logger = logging.getLogger(__name__)

MOST_ROTATED = 1_000
"""By one run of the task."""


class SuccessorGoneError(Exception):
    """The key has no successor, or the token of it was told, or it has ended."""

    def __init__(self) -> None:
        super().__init__("There is no successor of this key whose token can still be told. It is told once.")


@transaction.atomic
def relay_key_successor_reveal(*, relay_key: RelayKey) -> MintedRelayKey:
    """The successor and its token, which nobody can read again. Raises SuccessorGoneError; SealingError where the token
    does not open under the master keys of now, and then it still waits."""
    key = RelayKey.objects.select_for_update(of=("self",)).select_related("successor__project").get(pk=relay_key.pk)
    successor = key.successor
    if not key.successor_waits or successor is None or successor.state(timezone.now()) in ("expired", "revoked"):
        raise SuccessorGoneError
    token = sealer().unseal(bytes(key.sealed_successor_token), relay_key_successor_binding(key.pk))
    key.successor_waits, key.sealed_successor_token = False, b""
    key.save(update_fields=["successor_waits", "sealed_successor_token"])
    return MintedRelayKey(successor, token)


def relay_keys_rotate_due() -> int:
    """Rotate the keys whose time has come; how many. One that cannot be is logged, and tried again by the next run."""
    now = timezone.now()
    ahead = ExpressionWrapper(F("rotates_days_before") * timedelta(days=1), output_field=DurationField())
    due = RelayKey.objects.filter(
        rotates_days_before__isnull=False,
        revoked_at=None,
        has_successor=False,
        project__is_archived=False,
        expires_at__lte=now + ahead,
    )
    rotated = 0
    for key in due.order_by("expires_at").select_related("project")[:MOST_ROTATED]:
        if key.state(now) != "expired":
            rotated += _rotate(key)
    return rotated


def _rotate(key: RelayKey) -> bool:
    """It works for as long as it would have."""
    try:
        with transaction.atomic():
            minted = relay_key_rotate(relay_key=key, overlap=None)
            token = sealer().seal(minted.token, relay_key_successor_binding(key.pk))
            waits = {"successor_waits": True, "sealed_successor_token": token}
            RelayKey.objects.filter(pk=key.pk).update(**waits)
    except ValidationError as refused:  # rotated or revoked by somebody in the same moment, or rows that SQL wrote
        logger.warning("key_not_rotated", extra=log_fields(relay_key=key.pk, reason="; ".join(refused.messages)))
        return False
    logger.info("key_rotated", extra=log_fields(relay_key=key.pk, successor=minted.relay_key.pk))
    return True
