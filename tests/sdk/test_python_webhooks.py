"""What the relay signs, the Python SDK believes, and nothing else."""

import base64
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from relay_sdk import WebhookError, sign_webhook, verify_webhook

from relay_contract.signing import signature_headers

SECRET, OTHER = ("whsec_" + base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))
BODY = '{"id": 42, "name": "Zoë"}'.encode()


def test_a_delivery_is_believed() -> None:
    headers = sign_webhook(BODY, webhook_id="msg_1", secret=SECRET) | {
        "relay-attempt": "2",
        "relay-replay": "1",
        "relay-delivery-id": "d",
    }
    found = verify_webhook(BODY, {name.upper(): value for name, value in headers.items()}, SECRET)
    assert (found.id, found.attempt, found.is_replay, found.delivery_id) == ("msg_1", 2, True, "d")
    assert abs(found.sent_at - datetime.now(UTC)) < timedelta(seconds=5)


def test_it_signs_as_the_relay_does() -> None:
    now = datetime.now(UTC)
    assert sign_webhook(BODY, webhook_id="m", secret=SECRET, at=now) == signature_headers(
        [SECRET], "m", int(now.timestamp()), BODY
    )


def test_either_secret_is_good_while_one_replaces_the_other() -> None:
    headers = sign_webhook(BODY, webhook_id="m", secret=SECRET)
    assert verify_webhook(BODY, headers, [OTHER, SECRET]).id == "m"
    both = headers | {"webhook-signature": f"v1,AAAA {headers['webhook-signature']}"}
    assert verify_webhook(BODY, both, SECRET).id == "m"


def test_a_pair_is_checked_with_its_public_half() -> None:
    key = Ed25519PrivateKey.generate()
    stamp = str(int(time.time()))
    mark = base64.b64encode(key.sign(b".".join((b"m", stamp.encode(), BODY)))).decode()
    public = "whpk_" + base64.b64encode(key.public_key().public_bytes_raw()).decode()
    headers = {"webhook-id": "m", "webhook-timestamp": stamp, "webhook-signature": f"v1a,{mark}"}
    assert verify_webhook(BODY, headers, public).id == "m"
    with pytest.raises(WebhookError):
        verify_webhook(BODY + b" ", headers, public)


@pytest.mark.parametrize("change", [
    {"webhook-id": ""}, {"webhook-id": "other"}, {"webhook-timestamp": ""}, {"webhook-timestamp": "1e9"},
    {"webhook-timestamp": "-5"}, {"webhook-timestamp": "9" * 40}, {"webhook-timestamp": "٣"}, {"webhook-signature": ""},
    {"webhook-signature": "v1,"}, {"webhook-signature": "v1,é"}, {"webhook-signature": "v2,AAAA"},
    {"webhook-signature": "v1,x " * 500},
])  # fmt: skip
def test_anything_else_is_not(change: dict[str, str]) -> None:
    with pytest.raises(WebhookError):
        verify_webhook(BODY, sign_webhook(BODY, webhook_id="m", secret=SECRET) | change, SECRET)


@pytest.mark.parametrize(("away", "said"), [(-400, "old"), (400, "of the future")])
def test_clocks_that_disagree_are_named(away: int, said: str) -> None:
    headers = sign_webhook(BODY, webhook_id="m", secret=SECRET, at=datetime.now(UTC) + timedelta(seconds=away))
    with pytest.raises(WebhookError, match=said):
        verify_webhook(BODY, headers, SECRET)
    assert verify_webhook(BODY, headers, SECRET, tolerance_seconds=600).id == "m"


@pytest.mark.parametrize("secret", ["whsec_ä", "whsec_###", "whsec_A"])
def test_a_secret_that_is_none_is_said(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        verify_webhook(BODY, sign_webhook(BODY, webhook_id="m", secret=SECRET), secret)
