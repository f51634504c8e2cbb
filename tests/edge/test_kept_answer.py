"""What is kept of an answer, and what makes two calls the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_edge.kept_answer import KeptAnswer, decoded, digest_of_call, encoded, is_final, kept_lines
from relay_edge.kept_stream import IGNORED, warned

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.integers(100, 599), st.lists(st.tuples(TEXT, TEXT), max_size=4), TEXT, st.binary(max_size=99))
def test_an_answer_is_kept_there_and_back(
    status: int, lines: list[tuple[str, str]], request_id: str, body: bytes
) -> None:
    answer = KeptAnswer(status, tuple(lines), request_id, body)
    assert decoded(encoded(answer)) == answer


@pytest.mark.parametrize(
    ("status", "kept"),
    [
        (200, True), (204, True), (299, True), (302, False), (400, True), (404, True), (408, False), (409, False),
        (413, True), (422, True), (425, False), (429, False), (500, False), (503, False), (529, False),
    ],
)  # fmt: skip
def test_final_statuses(status: int, kept: bool) -> None:
    assert is_final(status) is kept


def test_lines_that_speak_of_the_answer_are_kept() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-type: a: b\r\ncontent-encoding: gzip\r\nrequest-id: req_1\r\n"
        b"x-relay-model: m\r\nx-relay-warnings: dropped:seed\r\nx-ratelimit-limit-requests: 2\r\nserver-timing: a\r\n"
        b"openai-processing-ms: 3\r\nretry-after: 1\r\nx-request-id: r\r\n"
    )
    assert kept_lines(head) == (
        ("content-type", "a: b"),
        ("content-encoding", "gzip"),
        ("request-id", "req_1"),
        ("x-relay-model", "m"),
        ("x-relay-warnings", "dropped:seed"),
    )


def test_calls_differ_by_operation_and_body() -> None:
    calls = [("a", b"b"), ("a", b"c"), ("ab", b""), ("a", b""), ("", b"ab")]
    assert len({digest_of_call(*call) for call in calls}) == len(calls)
    assert digest_of_call("a", b"b") == digest_of_call("a", b"b")


def test_a_note_joins_the_line_that_is_there() -> None:
    head = b"HTTP/1.1 200 OK\r\na: b\r\n"
    noted = head + b"x-relay-warnings: dropped:seed\r\n"
    assert warned(head, IGNORED) == head + b"x-relay-warnings: ignored:idempotency-key\r\n"
    assert warned(noted + b"c: d\r\n", IGNORED) == noted[:-2] + b", ignored:idempotency-key\r\nc: d\r\n"
