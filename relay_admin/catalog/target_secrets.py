"""A target's signing secrets: several at once while its receiver moves from one to the next.

Every unexpired one signs each delivery, newest first, so a receiver may change over at any moment of the overlap. One
that signs is always left: an unsigned delivery is never sent. Each function is one transaction, and holds the target's
row while it counts.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone

from relay_admin.catalog import services
from relay_admin.catalog.models import Target, TargetSecret
from relay_contract import nouns, signing, signing_keys
from relay_contract.nouns import MAX_TARGET_SECRETS, SecretKind

DEFAULT_OVERLAP_SECONDS = 86_400
MAX_OVERLAP_SECONDS = 604_800
KEPT_EXPIRED = timedelta(days=7)
"""How long an expired one is still listed."""


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret, and its value for this once."""

    row: TargetSecret
    value: str = field(repr=False)


@transaction.atomic
def target_secret_add(*, target: Target, kind: SecretKind = SecretKind.V1, value: str | None = None) -> NewSecret:
    """One more beside those that sign; None makes a fresh one. ValidationError where there are as many as fit."""
    _lock(target)
    _forget(target)
    if target.secrets.filter(_signs(timezone.now())).count() >= MAX_TARGET_SECRETS:
        raise ValidationError(f"At most {MAX_TARGET_SECRETS} secrets sign at once. Let one expire first.")
    secret = services.signing_secret_clean(value) if value else signing.new_secret(signing.Scheme(str(kind)))
    if secret.startswith(signing.SECRET_PREFIX) != (kind == SecretKind.V1):
        raise ValidationError("A whsec_ secret is of the kind v1, a whsk_ key of the kind v1a.")
    return NewSecret(services.target_secret_insert(target=target, kind=kind, value=secret), secret)


@transaction.atomic
def target_secret_rotate(
    *,
    target: Target,
    kind: SecretKind = SecretKind.V1,
    overlap_seconds: int = DEFAULT_OVERLAP_SECONDS,
    value: str | None = None,
) -> NewSecret:
    """A new secret; those of its kind stop signing when the overlap is over. 0: at once. Raises ValidationError."""
    if not 0 <= overlap_seconds <= MAX_OVERLAP_SECONDS:
        raise ValidationError(f"The overlap is 0 to {MAX_OVERLAP_SECONDS} seconds.")
    _lock(target)
    until = timezone.now() + timedelta(seconds=overlap_seconds)
    before = target.secrets.filter(kind=kind).filter(_signs(until))
    if overlap_seconds == 0:
        before.update(expires_at=until)
        return target_secret_add(target=target, kind=kind, value=value)
    made = target_secret_add(target=target, kind=kind, value=value)
    before.exclude(pk=made.row.pk).update(expires_at=until)
    return made


@transaction.atomic
def target_secret_expire(*, secret: TargetSecret) -> TargetSecret:
    """It signs no more. ValidationError for the last one that does."""
    _lock(secret.target)
    now = timezone.now()
    others = secret.target.secrets.filter(_signs(now)).exclude(pk=secret.pk)
    if not others.exists():
        raise ValidationError("This is the only secret that signs. Make another first.")
    if secret.expires_at is None or secret.expires_at > now:
        secret.expires_at = now
        secret.save(update_fields=["expires_at"])
    return secret


def target_secret_reveal(*, secret: TargetSecret) -> str:
    """The value, for its owner's eyes. The caller checks `catalog.reveal_signing_secret` and logs it.

    Raises `sealing.SealingError` when the master key has changed or the row was tampered with.
    """
    return services.sealer().unseal(secret.sealed_value, nouns.target_secret_binding(secret.pk))


def public_key(value: str) -> str:
    """What checks the signatures of a `whsk_` key, `whpk_...`; "" of a shared secret."""
    key = signing_keys.parse_secret(value)
    return key.public().text() if isinstance(key, signing_keys.Ed25519Key) else ""


def _signs(now: datetime) -> models.Q:
    return models.Q(expires_at=None) | models.Q(expires_at__gt=now)


def _lock(target: Target) -> None:
    Target.objects.select_for_update(no_key=True).get(pk=target.pk)


def _forget(target: Target) -> None:
    target.secrets.filter(expires_at__lt=timezone.now() - KEPT_EXPIRED).delete()
