"""Writes of the catalog that are more than a form's `save`: everything that seals a secret.

Each function is one transaction. A secret is sealed to the row that holds it, so the row is inserted first and gets its
id; other transactions never see it without its secret.
"""

import hashlib
import re
from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from relay_admin.catalog.models import Endpoint, Host, HostKey, Target, TargetSecret
from relay_contract import inbound_signatures, nouns, signing
from relay_contract.sealing import Sealer, SealFault, SealingError

FINGERPRINT_LENGTH = 12
OVERLAP_SECONDS = 86_400
MAX_OVERLAP_SECONDS = 604_800
"""How long two secrets may count: the old one is to be gone, and not forgotten."""
_SIGNATURE_SECRET = re.compile(r"[ -~]{1,4096}")
_HOST_KEY_VALUE = re.compile(r"[!-~]{1,4096}")


@cache
def sealer() -> Sealer:
    """The sealer of this deployment's master keys."""
    return Sealer(*settings.MASTER_KEYS)


def fingerprint(value: str) -> str:
    """The start of a value's SHA-256 in hex: tells two values apart, reveals neither."""
    return hashlib.sha256(value.encode()).hexdigest()[:FINGERPRINT_LENGTH]


def host_key_value_clean(value: str) -> str:
    """The value as it is sealed. ValidationError when no vendor could have issued it: it travels in a header."""
    value = value.strip()
    if not _HOST_KEY_VALUE.fullmatch(value):
        raise ValidationError("A host key is 1 to 4096 printable ASCII characters without spaces. Was it copied whole?")
    return value


def signing_secret_clean(secret: str) -> str:
    """The secret as it is sealed. ValidationError unless it is a key of Standard Webhooks."""
    secret = secret.strip()
    try:
        signing.parse_secret(secret)
    except signing.SigningSecretError as refused:
        raise ValidationError(f"{str(refused)[0].upper()}{str(refused)[1:]}.") from None
    return secret


@transaction.atomic
def host_key_create(*, host: Host, name: str, value: str = "", **columns: Any) -> HostKey:
    """A new key in the host's pool. `columns`: any other of its fields. Raises ValidationError."""
    return host_key_insert(host_key=HostKey(host=host, name=name, **columns), value=value)


@transaction.atomic
def host_key_insert(*, host_key: HostKey, value: str = "") -> HostKey:
    """Insert a row that was filled but not saved. ValidationError when it has neither a value nor a reference."""
    if not value and not host_key.reference:
        raise ValidationError("A host key needs its value, or a reference to where the edges read it.")
    value = host_key_value_clean(value) if value else ""
    host_key.sealed_value, host_key.value_fingerprint = b"", fingerprint(value) if value else ""
    host_key.full_clean()
    host_key.save(force_insert=True)
    return host_key_set_value(host_key=host_key, value=value, value_env=host_key.value_env) if value else host_key


@transaction.atomic
def host_key_set_value(*, host_key: HostKey, value: str, value_env: str = "") -> HostKey:
    """Replace the value; the edges use it as soon as this is committed. `value_env`: the variable it came from."""
    value = host_key_value_clean(value)
    host_key.sealed_value = sealer().seal(value, nouns.host_key_binding(host_key.pk))
    host_key.value_fingerprint, host_key.value_env = fingerprint(value), value_env
    host_key.save(update_fields=["sealed_value", "value_fingerprint", "value_env", "updated_at"])
    return host_key


def host_key_value(*, host_key: HostKey) -> str | None:
    """The sealed value, to compare with; it is shown to nobody. None where there is none, or none that opens: the
    master key has changed since."""
    try:
        return sealer().unseal(host_key.sealed_value, nouns.host_key_binding(host_key.pk))
    except SealingError:
        return None


def host_key_opens(*, host_key: HostKey) -> bool:
    """Whether the edges can use the value: not when the master key has changed since it was sealed."""
    return host_key_value(host_key=host_key) is not None


@transaction.atomic
def target_create(
    *, endpoint: Endpoint, name: str, url: str, signing_secret: str | None = None, **columns: Any
) -> Target:
    """A new target. `columns`: any other of its fields. Raises ValidationError."""
    target = Target(endpoint=endpoint, name=name, url=url, **columns)
    return target_insert(target=target, signing_secret=signing_secret)


@transaction.atomic
def target_insert(*, target: Target, signing_secret: str | None = None) -> Target:
    """Insert a row that was filled but not saved, with its signing secret; None makes one. Raises ValidationError."""
    target.full_clean()
    target.save(force_insert=True)
    return target_signing_secret_set(target=target, signing_secret=signing_secret or signing.new_secret())


@transaction.atomic
def target_signing_secret_set(*, target: Target, signing_secret: str) -> Target:
    """Replace every secret by this one; the next attempt is signed with it. Raises ValidationError."""
    secret = signing_secret_clean(signing_secret)
    target.secrets.all().delete()
    target_secret_insert(target=target, kind=nouns.SecretKind.V1, value=secret)
    return target


@transaction.atomic
def target_secret_insert(*, target: Target, kind: nouns.SecretKind, value: str) -> TargetSecret:
    """One more secret beside those that the target has. `value` is clean already."""
    row = TargetSecret.objects.create(target=target, kind=kind, sealed_value=b"")
    row.sealed_value = sealer().seal(value, nouns.target_secret_binding(row.pk))
    row.save(update_fields=["sealed_value"])
    return row


def target_signing_secret_rotate(*, target: Target) -> str:
    """Replace the secret by a fresh one and return it. Receivers must be given it before they can verify again."""
    secret = signing.new_secret()
    target_signing_secret_set(target=target, signing_secret=secret)
    return secret


def target_signing_secret_reveal(*, target: Target) -> str:
    """The newest v1 secret that signs, for its owner's eyes. The caller checks `catalog.reveal_signing_secret` and
    logs it.

    Raises `sealing.SealingError` when the master key has changed or the row was tampered with, or it has none.
    """
    signs = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    row = target.secrets.filter(signs, kind=nouns.SecretKind.V1).order_by("-pk").first()
    if row is None:
        raise SealingError(SealFault.NOT_SEALED, "not there: the target has no signing secret")
    return sealer().unseal(row.sealed_value, nouns.target_secret_binding(row.pk))


def signature_secret_clean(preset: str, secret: str) -> str:
    """The secret as it is sealed. ValidationError unless an edge could check signatures of this preset by it."""
    secret = secret.strip()
    if preset not in inbound_signatures.PRESETS:
        raise ValidationError("Choose the signature preset first: it says what a secret looks like.")
    if not _SIGNATURE_SECRET.fullmatch(secret):
        raise ValidationError("A signature secret is 1 to 4096 printable ASCII characters. Was it copied whole?")
    try:
        inbound_signatures.check_secret(preset, secret)
    except inbound_signatures.ConfigError as refused:
        raise ValidationError(str(refused)) from None
    return secret


@transaction.atomic
def endpoint_signature_secret_set(*, endpoint: Endpoint, secret: str) -> Endpoint:
    """Replace every secret that callers sign with: from now on only this one counts. Raises ValidationError."""
    return _signature_secrets_write(endpoint, signature_secret_clean(endpoint.signature_preset, secret))


@transaction.atomic
def endpoint_signature_secret_rotate(
    *, endpoint: Endpoint, secret: str, overlap_seconds: int = OVERLAP_SECONDS
) -> Endpoint:
    """Set a new secret and let the one before it count for a while, until the provider signs with the new one.

    Nothing changes where this is the secret already, so that a repeated call ends no overlap. Raises ValidationError.
    """
    if not 1 <= overlap_seconds <= MAX_OVERLAP_SECONDS:
        raise ValidationError(f"Two secrets overlap for 1 to {MAX_OVERLAP_SECONDS} seconds.")
    secret = signature_secret_clean(endpoint.signature_preset, secret)
    # Two at once would each take the same secret for the one before theirs.
    stored = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
    before = endpoint_signature_secret(endpoint=stored)
    if before == secret:
        return endpoint
    return _signature_secrets_write(endpoint, secret, before, overlap_seconds)


def _signature_secrets_write(endpoint: Endpoint, secret: str, before: str = "", overlap_seconds: int = 0) -> Endpoint:
    endpoint.sealed_signature_secret = sealer().seal(secret, nouns.endpoint_signature_binding(endpoint.pk))
    endpoint.sealed_previous_signature_secret = (
        sealer().seal(before, nouns.endpoint_previous_signature_binding(endpoint.pk)) if before else b""
    )
    endpoint.previous_signature_until = timezone.now() + timedelta(seconds=overlap_seconds) if before else None
    endpoint.save(
        update_fields=[
            "sealed_signature_secret",
            "sealed_previous_signature_secret",
            "previous_signature_until",
            "updated_at",
        ]
    )
    return endpoint


@transaction.atomic
def endpoint_signature_overlap_end(*, endpoint: Endpoint) -> Endpoint:
    """The secret before the current one stops counting."""
    endpoint.sealed_previous_signature_secret, endpoint.previous_signature_until = b"", None
    endpoint.save(update_fields=["sealed_previous_signature_secret", "previous_signature_until", "updated_at"])
    return endpoint


def endpoint_signature_secret(*, endpoint: Endpoint) -> str:
    """The current secret, to compare with; it is shown to nobody. "" where there is none, or none that opens."""
    if not endpoint.sealed_signature_secret:
        return ""
    try:
        return sealer().unseal(endpoint.sealed_signature_secret, nouns.endpoint_signature_binding(endpoint.pk))
    except SealingError:
        return ""


def endpoint_can_check_signatures(*, endpoint: Endpoint) -> bool:
    """Whether an edge could let a signed call in: its secret opens and is one of its preset."""
    try:
        signature_secret_clean(endpoint.signature_preset, endpoint_signature_secret(endpoint=endpoint))
    except ValidationError:
        return False
    return True
