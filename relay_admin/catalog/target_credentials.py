"""What the relay shows a target besides a signature: a token, password or client secret, and a certificate's key.

Written, never read back: forms and documents set them, workers open them. What of a target and its secrets does not go
together is said before anything is saved, since a delivery would be the next one to find out.
"""

import re
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from relay_admin.catalog.models import Target
from relay_admin.catalog.services import sealer
from relay_contract import client_certificates, nouns
from relay_contract.nouns import TargetAuth
from relay_contract.sealing import SealingError

MAX_SECRET_LENGTH = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BEARER = re.compile(r"[!-~]+")
_NEEDED = {
    TargetAuth.BEARER: "bearer needs its token.",
    TargetAuth.BASIC: "basic needs its password.",
    TargetAuth.OAUTH2: "oauth2 needs its client secret.",
}


def auth_secret_clean(value: str) -> str:
    """The secret as it is sealed. ValidationError for one that no header could carry."""
    value = value.strip()
    if not value or len(value) > MAX_SECRET_LENGTH or _CONTROL.search(value):
        raise ValidationError(f"It is 1 to {MAX_SECRET_LENGTH} characters on one line. Was it copied whole?")
    return value


def client_key_clean(value: str) -> str:
    """The key as it is sealed. ValidationError for what is too long; whether it fits is seen beside a certificate."""
    value = value.strip()
    if not value or len(value) > client_certificates.MAX_PEM_BYTES:
        raise ValidationError("Write the private key in PEM: -----BEGIN PRIVATE KEY----- and so on.")
    return value + "\n"


def auth_secret_of(target: Target) -> str | None:
    """None where there is none. Raises SealingError."""
    if not target.sealed_auth_secret:
        return None
    return sealer().unseal(target.sealed_auth_secret, nouns.target_auth_binding(target.pk))


def client_key_of(target: Target) -> str | None:
    """None where there is none. Raises SealingError."""
    if not target.sealed_client_key:
        return None
    return sealer().unseal(target.sealed_client_key, nouns.target_client_key_binding(target.pk))


@transaction.atomic
def target_auth_secret_set(*, target: Target, value: str) -> Target:
    """Replace it; the next attempt shows it. Raises ValidationError."""
    target.sealed_auth_secret = sealer().seal(auth_secret_clean(value), nouns.target_auth_binding(target.pk))
    target.save(update_fields=["sealed_auth_secret", "updated_at"])
    return target


@transaction.atomic
def target_client_key_set(*, target: Target, value: str) -> Target:
    """Replace the private key of the client certificate. Raises ValidationError."""
    target.sealed_client_key = sealer().seal(client_key_clean(value), nouns.target_client_key_binding(target.pk))
    target.save(update_fields=["sealed_client_key", "updated_at"])
    return target


def refusals(target: Target, *, auth_secret: str = "", client_key: str = "") -> dict[str, str]:
    """What is missing or does not fit, by name: `auth_secret`, `client_key`, `client_certificate`.

    `target` as it is to be saved. `auth_secret`, `client_key`: new ones, "" for those that are kept.
    """
    return _auth_refusals(target, auth_secret) | _certificate_refusals(target, client_key, timezone.now())


def _auth_refusals(target: Target, secret: str) -> dict[str, str]:
    kind = TargetAuth(target.auth_kind)
    if kind is TargetAuth.NONE:
        return {"auth_secret": "There is no authentication to use it for."} if secret else {}
    if not secret and not target.sealed_auth_secret:
        return {"auth_secret": _NEEDED[kind]}
    if secret and kind is TargetAuth.BEARER and not _BEARER.fullmatch(secret):
        return {"auth_secret": "A bearer token is printable ASCII without spaces. Leave out the word Bearer."}
    return {}


def _certificate_refusals(target: Target, key: str, now: datetime) -> dict[str, str]:
    if not target.client_certificate:
        return {"client_key": "There is no client certificate that it belongs to."} if key else {}
    try:
        key = key or client_key_of(target) or ""
    except SealingError as error:
        return {"client_key": f"The key that is kept is {error}. Write it again."}
    if not key:
        return {"client_key": "The client certificate needs its private key."}
    try:
        client_certificates.check(target.client_certificate, key, now)
    except client_certificates.CertificateError as error:
        return {"client_key" if "private key" in str(error) else "client_certificate": str(error)}
    return {}
