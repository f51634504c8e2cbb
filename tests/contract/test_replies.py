"""What a worker tells the edge of a sync delivery."""

import pytest

from relay_contract import replies
from relay_contract.ids import uuid7
from relay_contract.replies import Reply


def test_an_answer_comes_back_as_it_was_sent() -> None:
    lines = (("Content-Type", "text/plain"), ("X-Name", "caf\xe9"), ("x-name", "again"))
    for body in (b"", b"\0\xff\r\n", bytes(range(256)) * 4):
        reply = Reply(uuid7(), 599, lines, body)
        assert replies.decode(replies.encode(reply)) == reply


def test_a_fault_comes_back_as_it_was_sent() -> None:
    for seconds in (0, 1, replies.MAX_RETRY_SECONDS):
        reply = Reply(uuid7(), 0, fault="connection_refused", retry_after_seconds=seconds)
        assert replies.decode(replies.encode(reply)) == reply


@pytest.mark.parametrize(
    ("text", "seconds"), [(b"", 0), (b"x1", 0), (b"-1", 0), (b"7", 7), (b"99", 30), (b"12345", 12)]
)
def test_only_sane_seconds_are_read(text: bytes, seconds: int) -> None:
    message = replies.encode(Reply(uuid7(), 0, fault=replies.NO_ROOM)) + text
    assert replies.decode(message).retry_after_seconds == seconds


def test_a_large_body_lies_elsewhere() -> None:
    reply = Reply(uuid7(), 200, (), bytes(replies.MAX_INLINE_BYTES + 1))
    assert reply.is_large
    decoded = replies.decode(replies.encode(reply.pointing()))
    assert decoded.is_elsewhere
    assert (decoded.body, decoded.status) == (b"", 200)
    assert not Reply(uuid7(), 200, (), bytes(replies.MAX_INLINE_BYTES)).is_large


@pytest.mark.parametrize("where", ["head", "lines", "json", "pairs", "fault"])
def test_what_no_worker_writes_is_refused(where: str) -> None:
    whole = replies.encode(Reply(uuid7(), 200, (("a", "b"),), b""))
    message = {
        "head": whole[:10],
        "lines": whole[:-1],
        "json": whole[:-1] + b"}",
        "pairs": whole[:22] + b'["aaaaaa"]'[: len(whole) - 23],
        "fault": whole[:16] + b"\0\0" + whole[18:],
    }[where]
    with pytest.raises(ValueError):  # noqa: PT011 (of whichever decoder)
        replies.decode(message)


def test_headers_of_a_connection_and_credentials_stay_in_the_worker() -> None:
    raw = [(b"Set-Cookie", b"a=b"), (b"Connection", b"close"), (b"Vary", b"a"), (b"vary", b"b"), (b"X", b"\xe9")]
    lines = replies.passed(raw)
    assert lines == (("Vary", "a"), ("vary", "b"), ("X", "\xe9"))
    assert replies.as_object(lines) == {"vary": "a, b", "x": "\xe9"}


def test_what_a_connection_names_ends_with_it() -> None:
    raw = [(b"X-Hop", b"1"), (b"Connection", b"close, X-HOP"), (b"connection", b" other"), (b"Other", b""), (b"X", b"")]
    assert replies.passed(raw) == (("X", ""),)


def test_more_headers_than_anybody_needs_are_none() -> None:
    assert replies.passed([(b"x-%d" % n, b"") for n in range(replies.MAX_HEADERS)]) is not None
    assert replies.passed([(b"x-%d" % n, b"") for n in range(replies.MAX_HEADERS + 1)]) is None
    assert replies.passed([(b"x", b"y" * replies.MAX_HEADER_BYTES)]) is None


def test_a_call_is_announced_with_its_edge() -> None:
    request_id = uuid7()
    assert replies.decode_call(replies.encode_call("0123456789abcdef", request_id)) == (request_id, "0123456789abcdef")
    for message in (b"", b"0123456789abcdef", b"short 00", b"\xff", b"0123456789abcde: " + request_id.hex.encode()):
        with pytest.raises(ValueError):  # noqa: PT011 (of UUID, of ascii, or ours)
            replies.decode_call(message)
