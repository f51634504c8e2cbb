"""The keys that access tokens are signed with: made, taken turns by, published, forgotten.

A key is published PUBLISHED_BEFORE it signs, so that everybody who reads tokens has it by then. It signs for ACTIVE;
the next one takes over, and it stays public until the last token that it signed has been dead for an hour.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from relay_admin.access.oauth.models import SigningKey
from relay_admin.catalog.services import sealer
from relay_contract import nouns, token_keys
from relay_contract.access_tokens import LIFE_SECONDS

PUBLISHED_BEFORE = timedelta(hours=24)
ACTIVE = timedelta(days=30)
PUBLIC_AFTER = timedelta(seconds=LIFE_SECONDS, hours=1)

_LOCK = 0x5167_4E4B  # of Postgres, for this transaction: two processes make one key


def signing_key() -> tuple[str, token_keys.PrivateKey]:
    """The kid and key to sign with now. Makes the first one. Raises SealingError."""
    found = _signs(timezone.now()).first() or signing_keys_turn()
    return found.kid, _private(found.pk, bytes(found.sealed_private))


def public_keys() -> Mapping[str, token_keys.PublicKey]:
    """By kid, those that have signed what may be alive, the one that signs, and the one to come."""
    kept = Q(retires_at=None) | Q(retires_at__gt=timezone.now())
    rows = SigningKey.objects.filter(kept).values_list("kid", "public_der")
    return {kid: _public(bytes(der)) for kid, der in rows}


@transaction.atomic
def signing_keys_turn() -> SigningKey:
    """Make the first key, or the next one where it is time, and forget those that are over. The one that signs now.

    Run by the schedule each hour, and before the first token.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    now = timezone.now()
    newest = SigningKey.objects.order_by("-activates_at").first()
    if newest is None:
        newest = _make(now)
    elif newest.activates_at + ACTIVE - PUBLISHED_BEFORE <= now:
        # Never sooner than it was published, also where nobody was here for a month.
        newest = _make(max(newest.activates_at + ACTIVE, now + PUBLISHED_BEFORE))
        SigningKey.objects.filter(retires_at=None).exclude(pk=newest.pk).update(
            retires_at=newest.activates_at + PUBLIC_AFTER
        )
    SigningKey.objects.filter(retires_at__lte=now).delete()
    signs = _signs(now).first()
    assert signs is not None  # the first one signs at once, and none goes before another signs
    return signs


def _signs(now: datetime) -> QuerySet[SigningKey]:
    """Keys whose time has come; the first of them signs."""
    return SigningKey.objects.filter(activates_at__lte=now).order_by("-activates_at")


def _make(activates_at: datetime) -> SigningKey:
    private = token_keys.make()
    row = SigningKey.objects.create(
        kid=thumbprint(private.public_key()),
        public_der=token_keys.public_der(private),
        sealed_private=b"",
        activates_at=activates_at,
    )
    text = base64.b64encode(token_keys.private_der(private)).decode()
    row.sealed_private = sealer().seal(text, nouns.signing_key_binding(row.pk))
    row.save(update_fields=["sealed_private"])
    return row


def thumbprint(key: token_keys.PublicKey) -> str:
    """RFC 7638: its required members, in order, without spaces."""
    members = token_keys.jwk("", key)
    text = json.dumps({name: members[name] for name in ("e", "kty", "n")}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@lru_cache(maxsize=4)
def _private(key_id: int, sealed: bytes) -> token_keys.PrivateKey:
    """Opening and reading one takes some milliseconds."""
    text = sealer().unseal(sealed, nouns.signing_key_binding(key_id))
    return token_keys.read_private(base64.b64decode(text))


@lru_cache(maxsize=16)
def _public(der: bytes) -> token_keys.PublicKey:
    return token_keys.read_public(der)
