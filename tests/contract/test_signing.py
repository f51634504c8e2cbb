"""Signatures on deliveries, verified by the package that the standard's authors publish."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from relay_contract.signing import SigningSecretError, new_secret, parse_secret, signature_headers

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
    assert signature_headers([key], "msg_1", 1, BODY) == signature_headers([secret], "msg_1", 1, BODY)
    assert str(key.key) not in repr(key)


def test_a_new_secret_holds_32_random_bytes() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(parse_secret(secret).key) == 32 for secret in secrets)


@pytest.mark.parametrize("length", [24, 32, 64])
def test_secrets_within_the_standard(length: int) -> None:
    assert parse_secret("whsec_" + base64.b64encode(b"k" * length).decode()).key == b"k" * length


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starts with `whsec_`"),
        ("canarycanary", "starts with `whsec_`"),
        ("WHSEC_" + base64.b64encode(b"k" * 32).decode(), "starts with `whsec_`"),
        ("whsk_canarycanary", "asymmetric"),
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
