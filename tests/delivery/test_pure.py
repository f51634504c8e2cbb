"""Outcome, wait and headers of an attempt: tables."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from yarl import URL

from delivery.attempt import Answer, Claim, Destination, Fault, request_headers
from delivery.outcome import Again, Dead, Delivered, Verdict, judge
from delivery.record import result_of
from delivery.retry import MAX_RETRY_AFTER_SECONDS, retry_after_seconds, wait_seconds
from relay_contract import signing
from relay_contract.intake import DeadReason
from relay_contract.nouns import DEFAULT_RETRY_SCHEDULE_SECONDS

NOW = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
PERMANENT = Dead(DeadReason.PERMANENT_FAILURE)
KEY = signing.parse_secret(signing.new_secret())
DESTINATION = Destination(URL("http://t"), {"x-static": "s"}, 30, (5, 300), (signing.DatedKey(KEY, NOW, None),))


def claim(number: int = 1, replay: int = 0, destination: Destination | Fault = DESTINATION) -> Claim:
    return Claim(
        delivery_id=UUID(int=1),
        claim_id=UUID(int=2),
        request_id=UUID(int=3),
        target_id=4,
        shard=0,
        number=number,
        replay=replay,
        content_type="",
        request_headers={"x-trace": "t", "x-static": "caller", "webhook-id": "forged"},
        body=b"{}",
        url="http://t",
        destination=destination,
        body_bytes=2,
        revision=0,
        target_version=0,
    )


@pytest.mark.parametrize(
    ("status", "fault", "verdict"),
    [
        *((status, None, Delivered()) for status in (200, 201, 202, 204, 299)),
        *((status, None, PERMANENT) for status in (400, 401, 403, 404, 405, 413, 415, 422)),
        (410, None, Dead(DeadReason.TARGET_GONE)),
        *((status, None, Again()) for status in (301, 302, 303, 304, 307, 308)),
        *((status, None, Again()) for status in (402, 406, 408, 409, 418, 423, 425, 429, 451, 499)),
        *((status, None, Again()) for status in (500, 501, 502, 503, 504, 599, 600, 999)),
        (None, Fault.ADDRESS_REFUSED, Dead(DeadReason.ADDRESS_REFUSED)),
        (None, Fault.TARGET_DELETED, Dead(DeadReason.TARGET_DELETED)),
        (None, Fault.PAYLOAD_EXPIRED, Dead(DeadReason.PAYLOAD_EXPIRED)),
        (None, Fault.LEASES_LOST, Dead(DeadReason.ATTEMPTS_EXHAUSTED)),
        (None, Fault.MAPPING_FAILED, Dead(DeadReason.MAPPING_FAILED)),
        (401, Fault.TOKEN_REFUSED, Again()),
        (200, Fault.TIMEOUT, Again()),
        (410, Fault.RESPONSE_BROKEN_OFF, Again()),
    ],
)
def test_verdict(status: int | None, fault: Fault | None, verdict: Verdict) -> None:
    assert judge(Answer(NOW, 1, status, fault)) == verdict


def test_every_other_fault_is_tried_again() -> None:
    final = {
        Fault.ADDRESS_REFUSED,
        Fault.TARGET_DELETED,
        Fault.PAYLOAD_EXPIRED,
        Fault.LEASES_LOST,
        Fault.EXPIRED,
        Fault.MAPPING_FAILED,
    }
    for fault in set(Fault) - final:
        assert judge(Answer(NOW, 1, None, fault)) == Again(), fault


PERMANENT = Dead(DeadReason.PERMANENT_FAILURE)


@pytest.mark.parametrize(
    ("status", "fault", "retry_on", "verdict"),
    [
        (429, None, {"429"}, Again()),
        (503, None, {"429"}, PERMANENT),
        (503, None, {"5xx"}, Again()),
        (404, None, {"4xx"}, Again()),
        (302, None, {"3xx"}, Again()),
        (302, None, {"5xx"}, PERMANENT),
        (503, None, set(), PERMANENT),
        (410, None, {"410", "4xx"}, Dead(DeadReason.TARGET_GONE)),
        (204, None, set(), Delivered()),
        (None, Fault.TIMEOUT, {"timeout"}, Again()),
        (None, Fault.TIMEOUT, {"network"}, PERMANENT),
        (None, Fault.DNS_FAILURE, {"network"}, Again()),
        (None, Fault.CONNECTION_REFUSED, {"5xx", "timeout"}, PERMANENT),
        (None, Fault.SECRET_UNREADABLE, {"429"}, Again()),  # ours: the list is about the target
        (None, Fault.EXPIRED, {"429"}, Dead(DeadReason.EXPIRED)),
    ],
)
def test_a_target_says_what_is_tried_again(
    status: int | None, fault: Fault | None, retry_on: set[str], verdict: Verdict
) -> None:
    assert judge(Answer(NOW, 1, status, fault), retry_on) == verdict


def test_an_answer_of_nothing_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="status or a fault"):
        judge(Answer(NOW, 1, None, None))


@pytest.mark.parametrize(
    ("number", "schedule", "jitter", "asked", "wait"),
    [
        (1, (5, 300), 1.0, 0, 5),
        (2, (5, 300), 0.8, 0, 240),
        (2, (5, 300), 1.2, 0, 360),
        (3, (5, 300), 1.0, 0, None),
        (1, (), 1.0, 0, None),
        (1, (5,), 1.2, 120, 120),  # jitter does not shorten or lengthen what was asked for
        (1, (300,), 1.0, 120, 300),  # never shorter than the schedule
        (1, (5,), 1.0, 10_000_000, MAX_RETRY_AFTER_SECONDS),
        (1, (604_800,), 1.0, 10_000_000, 604_800),
        (2, (5,), 1.0, 120, None),  # patience is not another attempt
    ],
)
def test_wait(number: int, schedule: tuple[int, ...], jitter: float, asked: float, wait: float | None) -> None:
    assert wait_seconds(number, schedule, jitter, asked) == wait


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("120", 120),
        (" 120 ", 120),
        ("0", 0),
        ("Sat, 21 Nov 2026 10:02:00 GMT", 120),
        ("Sat, 21 Nov 2026 09:00:00 GMT", 0),
        ("Sat, 21 Nov 2026 10:02:00 -0000", 120),
        ("Saturday, 21-Nov-26 10:02:00 GMT", 120),
        ("Sat Nov 21 10:02:00 2026", 120),
        ("-1", 0),
        ("1.5", 0),
        ("soon", 0),
        ("", 0),
        ("\u0661\u0662", 0),
        ("9" * 5000, 10**9),
        ("99999999999", 10**9),
        ("000000000120", 120),
        ("Sat, 99 Nov 2026 10:02:00 GMT", 0),
        ("Sat, 21 Nov 99999 10:02:00 GMT", 0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after_seconds(value, NOW) == seconds


@pytest.mark.parametrize(
    ("number", "outcome", "state", "wait", "reason"),
    [
        (1, "retry", "pending", 5, None),
        (2, "retry", "pending", 300, None),
        (3, "dead", "dead", None, "attempts_exhausted"),
    ],
)
def test_a_failure_follows_the_targets_schedule(
    number: int, outcome: str, state: str, wait: float | None, reason: str | None
) -> None:
    result = result_of(claim(number), Answer(NOW, 1, 500, None), Again(), 1.0)
    assert (result.outcome, result.state, result.wait_seconds, result.dead_reason) == (outcome, state, wait, reason)


def test_a_target_that_cannot_be_read_is_tried_again_by_the_default_schedule() -> None:
    broken = claim(2, destination=Fault.SECRET_UNREADABLE)
    result = result_of(broken, Answer(NOW, 0, None, Fault.SECRET_UNREADABLE), Again(), 1.0)
    assert result.wait_seconds == DEFAULT_RETRY_SCHEDULE_SECONDS[1]


def test_our_headers_win_over_the_targets_and_those_over_the_callers() -> None:
    sent = request_headers(claim(number=3, replay=2), DESTINATION, b"{}", 1_700_000_000)
    signature = sent.pop("webhook-signature")
    assert signature == KEY.signature(b"00000000-0000-0000-0000-000000000003.1700000000.{}")
    assert sent == {
        "accept": "*/*",
        "user-agent": "Relay/1",
        "x-trace": "t",
        "x-static": "s",
        "webhook-id": str(UUID(int=3)),
        "webhook-timestamp": "1700000000",
        "relay-delivery-id": str(UUID(int=1)),
        "relay-attempt": "3",
        "relay-replay": "2",
    }


def test_a_date_far_away_is_still_a_date() -> None:
    later = NOW + timedelta(days=400)
    assert retry_after_seconds(later.strftime("%a, %d %b %Y %H:%M:%S GMT"), NOW) == 400 * 86_400
