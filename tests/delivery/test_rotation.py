"""A secret is rotated while deliveries go on: receivers verify with the old one, with either, with the new."""

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from delivery import attempt
from delivery.attempt import Claim, Destination
from relay_contract import nouns, signing, signing_keys
from tests.delivery.conftest import Work
from tests.delivery.queue import Queue
from tests.delivery.receiver import Receiver
from tests.delivery.test_sender import claim

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
DAY = timedelta(days=1)


def sent_at(moment: datetime, keys: tuple[signing.DatedKey, ...]) -> tuple[dict[str, str], bytes]:
    """Headers and body of an attempt at a moment."""
    one: Claim = claim("http://127.0.0.1:9/in")
    assert isinstance(one.destination, Destination)
    destination = Destination(one.destination.url, {}, 20, (), keys)
    body = b'{"rotated": true}'
    return attempt.request_headers(one, destination, body, int(moment.timestamp())), body


def checks(public: signing_keys.PublicKey, headers: dict[str, str], body: bytes) -> bool:
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return any(public.verifies(one, content) for one in headers["webhook-signature"].split(" "))


def test_during_the_overlap_both_secrets_verify_and_then_the_old_one_drops() -> None:
    old, new = signing.new_secret(), signing.new_secret()
    keys = (
        signing.DatedKey(signing.parse_secret(old), NOW - 30 * DAY, NOW + DAY),
        signing.DatedKey(signing.parse_secret(new), NOW, None),
    )
    during, body = sent_at(NOW + DAY / 2, keys)
    assert [one[:3] for one in during["webhook-signature"].split(" ")] == ["v1,", "v1,"]
    only_new, _ = sent_at(NOW + DAY / 2, keys[1:])
    assert during["webhook-signature"].startswith(only_new["webhook-signature"])  # the newest first
    after, _ = sent_at(NOW + DAY, keys)  # at its very end a secret signs no more
    assert after["webhook-signature"].count("v1,") == 1
    assert after["webhook-signature"] == sent_at(NOW + DAY, keys[1:])[0]["webhook-signature"]
    assert body


def test_an_asymmetric_key_signs_beside_a_shared_one() -> None:
    pair = signing_keys.parse_secret(signing.new_secret(signing.Scheme.ED25519))
    assert isinstance(pair, signing_keys.Ed25519Key)
    shared = signing.parse_secret(signing.new_secret())
    headers, body = sent_at(NOW, (signing.DatedKey(shared, NOW - DAY, None), signing.DatedKey(pair, NOW, None)))
    assert [one.split(",")[0] for one in headers["webhook-signature"].split(" ")] == ["v1a", "v1"]
    assert checks(pair.public(), headers, body)
    other = signing_keys.parse_secret(signing.new_secret(signing.Scheme.ED25519))
    assert isinstance(other, signing_keys.Ed25519Key)
    assert not checks(other.public(), headers, body)


async def test_a_worker_follows_a_rotation(queue: Queue, receiver: Receiver, work: Work) -> None:
    """The published verifier of Standard Webhooks, before, during and after the overlap, at one worker."""
    target = await queue.target(f"{receiver.url}/in")
    new = signing.new_secret()
    await work()

    async def delivered(count: int) -> tuple[bytes, dict[str, str]]:
        await queue.until(await queue.accept_one(target), "delivered")
        call = receiver.at("/in")[count - 1]
        return call.body, dict(call.headers)

    body, headers = await delivered(1)
    Webhook(target.secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(body, headers)

    await queue.sql(
        "UPDATE catalog_targetsecret SET expires_at = now() + interval '1 day' WHERE target_id = %s", target.id
    )
    sealed = queue._sealer.seal(new, nouns.target_secret_binding(target.id + 1000))
    await queue.sql(
        "INSERT INTO catalog_targetsecret (id, target_id, kind, sealed_value, created_at)"
        " VALUES (%s, %s, 'v1', %s, now())",
        target.id + 1000,
        target.id,
        sealed,
    )
    body, headers = await delivered(2)
    Webhook(target.secret).verify(body, headers)
    Webhook(new).verify(body, headers)

    await queue.sql("UPDATE catalog_targetsecret SET expires_at = now() WHERE id = %s", target.id)
    body, headers = await delivered(3)
    Webhook(new).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(target.secret).verify(body, headers)
