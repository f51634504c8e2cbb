"""Signatures on deliveries, verified by the package that the standard's authors publish."""

import base64
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from relay_contract.signing import (
    DatedKey,
    Ed25519Key,
    HmacKey,
    Scheme,
    SigningSecretError,
    keys_at,
    new_secret,
    parse_secret,
    signature_headers,
)
from relay_contract.signing_keys import parse_public_key

BODY = b'{"type":"order.paid","data":{"n":1}}'


def test_the_example_of_the_specification() -> None:
    """Secret, id, timestamp and body of the reference libraries' own test."""
    headers = signature_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=200))
def test_the_published_package_accepts_any_body(text: str) -> None:
    secret = new_secret()
    body = text.encode()
    headers = signature_headers([secret], "msg_1", int(time.time()), body)
    Webhook(secret).verify(body, headers, json_parse=False)


def test_either_secret_of_a_rotation_verifies() -> None:
    new, old, other = new_secret(), new_secret(), new_secret()
    headers = signature_headers([new, old], "msg_1", int(time.time()), BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert Webhook(new).verify(BODY, headers) == {"type": "order.paid", "data": {"n": 1}}
    assert Webhook(old).verify(BODY, headers) == {"type": "order.paid", "data": {"n": 1}}
    with pytest.raises(WebhookVerificationError, match="No matching signature found"):
        Webhook(other).verify(BODY, headers)


@pytest.mark.parametrize(
    ("changed", "value", "message"),
    [
        ("webhook-id", "msg_2", "No matching signature found"),
        ("webhook-timestamp", "1 s later", "No matching signature found"),
        ("webhook-timestamp", "-301 s later", "Message timestamp too old"),
        ("webhook-timestamp", "3600 s later", "Message timestamp too new"),
        ("webhook-signature", "v1," + base64.b64encode(bytes(32)).decode(), "No matching signature found"),
        ("webhook-signature", "v2,abc", "No matching signature found"),
        ("webhook-signature", "", "Missing required headers"),
    ],
)
def test_the_published_package_refuses_what_was_changed(changed: str, value: str, message: str) -> None:
    secret = new_secret()
    now = int(time.time())
    headers = signature_headers([secret], "msg_1", now, BODY)
    Webhook(secret).verify(BODY, headers)
    if value.endswith(" s later"):
        value = str(now + int(value.removesuffix(" s later")))
    with pytest.raises(WebhookVerificationError, match=message):
        Webhook(secret).verify(BODY, headers | {changed: value})


def test_the_published_package_refuses_another_body() -> None:
    secret = new_secret()
    headers = signature_headers([secret], "msg_1", int(time.time()), BODY)
    with pytest.raises(WebhookVerificationError, match="No matching signature found"):
        Webhook(secret).verify(BODY + b" ", headers)


def test_an_old_attempt_is_signed_anew() -> None:
    secret = new_secret()
    first = signature_headers([secret], "msg_1", 1_700_000_000, BODY)
    second = signature_headers([secret], "msg_1", 1_700_000_300, BODY)
    assert first["webhook-id"] == second["webhook-id"]
    assert first["webhook-signature"] != second["webhook-signature"]


def test_a_decoded_key_signs_like_its_secret() -> None:
    secret = new_secret()
    key = parse_secret(secret)
    assert isinstance(key, HmacKey)
    assert signature_headers([key], "msg_1", 1, BODY) == signature_headers([secret], "msg_1", 1, BODY)
    assert str(key.key) not in repr(key)


def test_a_new_secret_holds_32_random_bytes() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    keys = [parse_secret(secret) for secret in secrets]
    assert all(isinstance(key, HmacKey) and len(key.key) == 32 for key in keys)


@pytest.mark.parametrize("length", [24, 32, 64])
def test_secrets_within_the_standard(length: int) -> None:
    assert parse_secret("whsec_" + base64.b64encode(b"k" * length).decode()) == HmacKey(b"k" * length)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starts with `whsec_`"),
        ("canarycanary", "starts with `whsec_`"),
        ("WHSEC_" + base64.b64encode(b"k" * 32).decode(), "starts with `whsec_`"),
        ("whpk_canarycanary", "is a public key"),
        ("whsk_canary!canary", "what follows `whsk_` is not base64"),
        ("whsk_", "32 or 64 bytes after decoding, not 0"),
        ("whsk_" + base64.b64encode(b"k" * 33).decode(), "32 or 64 bytes after decoding, not 33"),
        ("whsk_" + base64.b64encode(b"k" * 64).decode(), "do not belong together"),
        ("whsec_", "24 to 64 bytes after decoding, not 0"),
        ("whsec_" + base64.b64encode(b"k" * 23).decode(), "not 23"),
        ("whsec_" + base64.b64encode(b"k" * 65).decode(), "not 65"),
        ("whsec_canary!canary", "not base64"),
        ("whsec_canaré", "not base64"),
        ("whsec_" + base64.b64encode(b"k" * 32).decode()[:-1], "not base64"),
        ("whsec_" + base64.b64encode(b"k" * 32).decode() + "\n", "not base64"),
    ],
)
def test_a_bad_secret_is_explained_and_not_repeated(text: str, message: str) -> None:
    with pytest.raises(SigningSecretError, match=message) as caught:
        parse_secret(text)
    assert "canar" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("message_id", ["", "msg.1", "msg 1", "msg\r\n1", "msg_é", "m" * 129])
def test_a_message_id_that_would_confuse_receivers(message_id: str) -> None:
    with pytest.raises(ValueError, match="message id"):
        signature_headers([new_secret()], message_id, 1, BODY)


def test_bounds() -> None:
    secret = new_secret()
    with pytest.raises(ValueError, match="1 to 10 secrets, not 0"):
        signature_headers([], "msg_1", 1, BODY)
    with pytest.raises(ValueError, match="1 to 10 secrets, not 11"):
        signature_headers([secret] * 11, "msg_1", 1, BODY)
    with pytest.raises(ValueError, match="not negative"):
        signature_headers([secret], "msg_1", -1, BODY)
    with pytest.raises(TypeError, match="sequence of secrets"):
        signature_headers(secret, "msg_1", 1, BODY)


PAIR = "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
SEED = base64.b64encode(base64.b64decode(PAIR)[:32]).decode()


@pytest.mark.parametrize("secret", ["whsk_" + PAIR, "whsk_" + SEED], ids=["seed and public key", "seed"])
def test_the_asymmetric_example_of_the_specification(secret: str) -> None:
    """Key, message and signature of `test_asymmetric_key_signing` in Svix's server (worker.rs, read 2026-11), whose
    signature the specification shows as its example of `v1a`; the public key is from that server's README."""
    headers = signature_headers([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == (
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    )
    key = parse_secret(secret)
    assert isinstance(key, Ed25519Key)
    assert key.public().text() == PUBLIC


@given(st.binary(max_size=200))
def test_an_asymmetric_signature_is_plain_ed25519(body: bytes) -> None:
    secret = new_secret(Scheme.ED25519)
    key = parse_secret(secret)
    assert isinstance(key, Ed25519Key)
    raw = base64.b64decode(key.public().text().removeprefix("whpk_"))
    element = signature_headers([key], "msg_1", 7, body)["webhook-signature"]
    assert element.startswith("v1a,")
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(element[4:]), b"msg_1.7." + body)
    public = parse_public_key(key.public().text())
    assert public.verifies(element, b"msg_1.7." + body)
    assert not public.verifies(element, b"msg_1.8." + body)
    assert not public.verifies("v1a,\u00e9", body)
    assert secret.removeprefix("whsk_")[:20] not in repr(key)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("whsk_" + PAIR, "starts with `whpk_`"),
        ("whpk_canary!", "not base64"),
        ("whpk_" + base64.b64encode(b"k" * 31).decode(), "32 bytes after decoding, not 31"),
    ],
)
def test_a_bad_public_key_is_explained(text: str, message: str) -> None:
    with pytest.raises(SigningSecretError, match=message) as caught:
        parse_public_key(text)
    assert "canar" not in str(caught.value)


def test_a_shared_and_an_asymmetric_key_sign_together() -> None:
    shared, pair = new_secret(), new_secret(Scheme.ED25519)
    headers = signature_headers([pair, shared], "msg_1", int(time.time()), BODY)
    assert [element.split(",")[0] for element in headers["webhook-signature"].split(" ")] == ["v1a", "v1"]
    assert Webhook(shared).verify(BODY, headers) == {"type": "order.paid", "data": {"n": 1}}


def test_a_rotated_key_signs_until_its_overlap_ends() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rotated = start + timedelta(days=30)
    old, new = (parse_secret(new_secret()) for _ in range(2))
    keys = [DatedKey(old, start, rotated + timedelta(days=1)), DatedKey(new, rotated, None)]
    assert keys_at(keys, rotated) == (new, old)
    assert keys_at(keys, rotated + timedelta(days=1, microseconds=-1)) == (new, old)
    assert keys_at(keys, rotated + timedelta(days=1)) == (new,)
    assert keys_at(keys[:1], rotated + timedelta(days=1)) == ()


def test_never_more_keys_than_one_delivery_may_carry() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    keys = [HmacKey(bytes([number]) * 32) for number in range(12)]
    assert keys_at([DatedKey(key, start, None) for key in keys], start) == tuple(reversed(keys))[:10]
