"""Signatures on deliveries: Standard Webhooks 1.0.0 (standardwebhooks.com, specification of 2023-12).

    webhook-id: the message's id, the same on every attempt         webhook-timestamp: Unix seconds of this attempt
    webhook-signature: one element per key, by spaces, over id + "." + timestamp + "." + body
        `v1,`  + base64(HMAC-SHA256)        `v1a,` + base64(ed25519)

While a key is rotated a delivery carries a signature for each, so that receivers may change over at any time.
Receivers verify with any library of that standard. The keys themselves: signing_keys.py.

Pure. 3 us per signature of `v1` plus about 0.5 us per KiB of body.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from relay_contract.signing_keys import (
    MAX_SECRET_BYTES,
    MIN_SECRET_BYTES,
    SECRET_PREFIX,
    Ed25519Key,
    HmacKey,
    Scheme,
    SigningKey,
    SigningSecretError,
    new_secret,
    parse_secret,
)

__all__ = [
    "MAX_SECRETS",
    "MAX_SECRET_BYTES",
    "MIN_SECRET_BYTES",
    "SECRET_PREFIX",
    "DatedKey",
    "Ed25519Key",
    "HmacKey",
    "Scheme",
    "SigningKey",
    "SigningSecretError",
    "keys_at",
    "new_secret",
    "parse_secret",
    "signature_headers",
]

MAX_SECRETS = 10
"""At most so many signatures on one delivery; receivers bound the header's length."""

_MESSAGE_ID = re.compile(r"[!-\-/-~]{1,128}")  # printable ASCII without the dot, which separates the signed parts


@dataclass(frozen=True, slots=True)
class DatedKey:
    """A target's key with the time it signs for. `expires_at` None: until it is replaced."""

    key: SigningKey
    created_at: datetime
    expires_at: datetime | None


def keys_at(keys: Iterable[DatedKey], now: datetime) -> tuple[SigningKey, ...]:
    """The keys that sign at this moment, newest first and at most MAX_SECRETS; of equal age the later in `keys`.

    Empty where all have expired: such a delivery must not be sent unsigned.
    """
    current = [dated for dated in keys if dated.expires_at is None or dated.expires_at > now]
    oldest_first = sorted(current, key=lambda dated: dated.created_at)
    return tuple(dated.key for dated in oldest_first[::-1][:MAX_SECRETS])


def signature_headers(
    secrets: Sequence[str | SigningKey], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The three headers of one attempt, names in lower case; the signatures stand in the order of `secrets`.

    `timestamp` is the attempt's, in Unix seconds: receivers refuse one that is off by more than five minutes. The first
    secret is the newest one. SigningSecretError for a bad secret; ValueError for no or too many secrets, a negative
    timestamp, or a message id that is empty, longer than 128, or holds a dot or anything but printable ASCII.
    """
    if isinstance(secrets, str):
        raise TypeError("`secrets` is a sequence of secrets, not one")
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise ValueError(f"a delivery is signed with 1 to {MAX_SECRETS} secrets, not {len(secrets)}")
    if not _MESSAGE_ID.fullmatch(message_id):
        raise ValueError("a message id is 1 to 128 printable ASCII characters without a dot")
    if timestamp < 0:
        raise ValueError("the timestamp is in Unix seconds and not negative")
    signed_content = b"%s.%d.%s" % (message_id.encode("ascii"), timestamp, body)
    keys = [parse_secret(secret) if isinstance(secret, str) else secret for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(key.signature(signed_content) for key in keys),
    }
