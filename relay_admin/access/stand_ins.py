"""Relay keys that stand in for another one while the test console makes one call.

A relay key is stored as a hash, so nobody here can call with it. A stand-in is another key of the same project, policy,
limits, mode and budget, for one scope of it, that has two minutes to begin a call and is revoked as soon as that has
begun. Its token is in no page, log or table. The audit log has its minting and its end, by whoever asked, and its name
says whose place it took. It counts its own rate limit and budget from nothing; those of policy, user and project it
shares. It has no list of networks: the control plane calls with it.
"""

from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Concat
from django.utils import timezone

from relay_admin.access.models import RelayKey, User
from relay_admin.access.services import MintedRelayKey, relay_key_mint
from relay_admin.catalog.models import Project
from relay_contract import tokens
from relay_contract.nouns import KeyMode, Payer, Scope

LIFE = timedelta(minutes=2)
KEPT = timedelta(days=1)
"""Afterwards the row is deleted by the next stand-in of the project."""
_MOST_FORGOTTEN = 500
_LONGEST_NAME = 70
_PREFIX, _FOR = "console ", " for "


def stand_ins() -> Q:
    """Rows that are one: their name holds their own public part, which nobody knows before a key is minted."""
    return Q(name__startswith=Concat(Value(_PREFIX), F("key_id"), Value(_FOR)))


def stand_in_refusal(key: RelayKey, scope: Scope, now: datetime) -> str:
    """Why nothing may stand in for the key, in words; empty where it may."""
    state = key.state(now)
    if state not in ("active", "expiring"):
        return f"This relay key is {state}. Choose one that works."
    if key.pays == Payer.USER:
        return "Its user pays for this key, and the console spends nobody's own wallet. Choose a key of the project."
    if scope not in key.scopes:
        return f"This relay key lacks the scope {scope}. Choose one that has it."
    return ""


@transaction.atomic
def stand_in_mint(*, relay_key: RelayKey, scope: Scope, created_by: User) -> MintedRelayKey:
    """Raises ValidationError, also for a key that nothing may stand in for."""
    key = RelayKey.objects.select_related("project", "policy", "rate_limit", "user").get(pk=relay_key.pk)
    now = timezone.now()
    if refusal := stand_in_refusal(key, scope, now):
        raise ValidationError(refusal)
    _forget_old(key.project, now)
    new = tokens.mint(KeyMode(key.mode))
    minted = relay_key_mint(
        project=key.project,
        name=f"{_PREFIX}{new.key_id}{_FOR}{key.name[:_LONGEST_NAME]}",
        scopes=[scope],
        mode=key.mode,
        policy=key.policy,
        rate_limit=key.rate_limit,
        user=key.user,
        budget=key.budget,
        captures_payloads=key.captures_payloads,
        expires_at=now + LIFE,
        created_by=created_by,
        token=new.token,
    )
    # Other keys work for a day beyond their end, and can be rotated: one that has a successor does neither.
    minted.relay_key.has_successor = True
    minted.relay_key.save(update_fields=["has_successor"])
    return minted


def _forget_old(project: Project, now: datetime) -> None:
    old = RelayKey.objects.filter(stand_ins(), project=project, created_at__lt=now - KEPT).order_by("pk")
    RelayKey.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:_MOST_FORGOTTEN])).delete()
