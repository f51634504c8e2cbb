"""Checks deliveries: Standard Webhooks 1.0.0 (https://www.standardwebhooks.com), as the relay signs them.

Secrets are `whsec_...` (HMAC-SHA256, `v1`) or the public half of a pair, `whpk_...` (ed25519, `v1a`). Checking the
latter needs the extra `ed25519`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from relay_sdk.errors import WebhookError

TOLERANCE_SECONDS = 300.0
"""How old a delivery may be, or of how far in the future."""
_MOST_SIGNATURES = 32


@dataclass(frozen=True, slots=True)
class Webhook:
    """What was checked. `id` is the same on every attempt and replay: remember it to leave out a second copy."""

    id: str
    sent_at: datetime
    delivery_id: str  # empty where another sender signed
    attempt: int
    is_replay: bool


def verify_webhook(
    body: bytes,
    headers: Mapping[str, str],
    secrets: str | Iterable[str],
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> Webhook:
    """`body`: the bytes as they came, before anything parsed them. Raises WebhookError, and ValueError for a secret
    that is none. Give old and new secret while one replaces the other: one signature that fits is enough."""
    found = {name.lower(): value for name, value in headers.items()}
    sent = _sent(found.get("webhook-timestamp", ""), tolerance_seconds)
    name = found.get("webhook-id", "")
    if not name:
        raise WebhookError("webhook-id is missing.")
    signed = b".".join((name.encode(), found["webhook-timestamp"].encode(), body))
    signatures = found.get("webhook-signature", "").split(" ")[:_MOST_SIGNATURES]
    keys = [secrets] if isinstance(secrets, str) else list(secrets)
    if not any(_fits(key, signatures, signed) for key in keys):
        raise WebhookError("No signature of webhook-signature fits this body and these secrets.")
    return Webhook(
        id=name,
        sent_at=sent,
        delivery_id=found.get("relay-delivery-id", ""),
        attempt=_number(found.get("relay-attempt", "1")),
        is_replay=_number(found.get("relay-replay", "0")) > 0,
    )


def sign_webhook(body: bytes, *, webhook_id: str, secret: str, at: datetime | None = None) -> dict[str, str]:
    """The three headers of a delivery, `v1`: for tests of receivers, and for `relay listen`."""
    stamp = str(int((at or datetime.now(UTC)).timestamp()))
    signed = b".".join((webhook_id.encode(), stamp.encode(), body))
    mark = base64.b64encode(hmac.digest(_decoded(secret, "whsec_"), signed, hashlib.sha256)).decode()
    return {"webhook-id": webhook_id, "webhook-timestamp": stamp, "webhook-signature": f"v1,{mark}"}


def _sent(text: str, tolerance_seconds: float) -> datetime:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise WebhookError("webhook-timestamp is missing, or no number.")
    away = time.time() - int(text)
    if abs(away) > tolerance_seconds:
        said = "old" if away > 0 else "of the future"
        raise WebhookError(f"webhook-timestamp is {abs(away):.0f} s {said}; check this machine's clock.")
    return datetime.fromtimestamp(int(text), UTC)


def _fits(secret: str, signatures: list[str], signed: bytes) -> bool:
    if secret.startswith("whpk_"):
        key = _decoded(secret, "whpk_")
        return any(_is_of(key, one.removeprefix("v1a,"), signed) for one in signatures if one.startswith("v1a,"))
    wanted = base64.b64encode(hmac.digest(_decoded(secret, "whsec_"), signed, hashlib.sha256))
    return any(hmac.compare_digest(b"v1," + wanted, one.encode()) for one in signatures)


def _is_of(key: bytes, mark: str, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 (an extra)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(base64.b64decode(mark, validate=True), signed)
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _decoded(secret: str, prefix: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("A webhook secret is `whsec_` or `whpk_` and base64.") from None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
