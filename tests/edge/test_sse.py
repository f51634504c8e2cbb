"""Server-sent events, read strictly by their standard and leniently at the end (rule 76)."""

import pytest

from relay_edge.protocols.sse import EventReader, EventTooLargeError, comment, data_event, named_event


def read(*pieces: bytes, max_bytes: int = 1_000) -> list[tuple[str, bytes]]:
    reader = EventReader(max_bytes)
    events = [event for piece in pieces for event in reader.feed(piece)]
    return [(event.name, event.data) for event in [*events, *reader.end()]]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"data: a", b"", b"data: b", b""], [("", b"a"), ("", b"b")]),
        ([b"event: x", b"data: a", b""], [("x", b"a")]),
        ([b"data: a", b"data: b", b""], [("", b"a\nb")]),
        ([b"data:a", b""], [("", b"a")]),
        ([b"data:  a", b""], [("", b" a")]),
        ([b"data", b""], [("", b"")]),
        ([b": comment", b"data: a", b": more", b""], [("", b"a")]),
        ([b"id: 1", b"retry: 5", b"data: a", b""], [("", b"a")]),
        ([b"event: x", b"", b"data: a", b""], [("", b"a")]),  # an event without data is none, and its name goes
        ([b"\xef\xbb\xbfdata: a", b""], [("", b"a")]),
        ([b"", b"", b"data: a", b""], [("", b"a")]),
        ([b"data: a:b", b""], [("", b"a:b")]),
        ([b"data: a"], [("", b"a")]),  # without its blank line, at the end
        ([], []),
    ],
)
def test_reading(lines: list[bytes], expected: list[tuple[str, bytes]], end: bytes) -> None:
    stream = b"".join(line + end for line in lines)
    assert read(stream) == expected
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == expected


def test_a_last_line_without_its_end() -> None:
    assert read(b"data: a") == [("", b"a")]


@pytest.mark.parametrize("pieces", [[b"x" * 1_001], [b"data: " + b"x" * 500 + b"\n"] * 3, [b"x" * 400] * 3])
def test_an_event_without_an_end_is_refused(pieces: list[bytes]) -> None:
    with pytest.raises(EventTooLargeError):
        read(*pieces)


def test_many_events_are_not_one_large_one() -> None:
    assert len(read(*[b"data: " + b"x" * 500 + b"\n\n"] * 10)) == 10


def test_what_is_written_reads_back() -> None:
    written = comment("ping") + data_event(b"1") + named_event("e", b"2")
    assert read(written) == [("", b"1"), ("e", b"2")]
