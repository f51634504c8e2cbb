"""Which headers of an answer reach the caller, and in whose words a relayed stream is kept alive and ends."""

from typing import cast

import pytest
from aiohttp import web

from relay_contract.errors import UpstreamTimeout
from relay_edge.passed_headers import HOST_NAMES, MAX_REMEMBERED_NAMES, TARGET_NAMES, Names, passed_lines
from relay_edge.streaming import PING, RELAYED, CallerStream
from relay_edge.upstream import Head
from tests.edge.test_pings import _Socket

EVENTS = [(b"Content-Type", b"text/event-stream")]


def test_a_targets_answer_keeps_what_is_the_projects_own() -> None:
    sent = [
        (b"X-Order", b"7"),
        (b"WWW-Authenticate", b'Basic realm="orders"'),
        (b"X-RateLimit-Remaining", b"3"),
        (b"Location", b"/elsewhere"),
        (b"Set-Cookie", b"session=1"),
        (b"Content-Length", b"12"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Server", b"theirs"),
        (b"X-Request-Id", b"theirs"),
        (b"X-Relay-Target", b"forged"),
        (b"Relay-Durability", b"forged"),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Connection", b"close, X-Hop"),
        (b"X-Hop", b"ends here"),
    ]
    kept = (
        b'x-order: 7\r\nwww-authenticate: Basic realm="orders"\r\nx-ratelimit-remaining: 3\r\nlocation: /elsewhere\r\n'
    )
    assert passed_lines(sent, TARGET_NAMES).lines == kept
    assert passed_lines(sent, HOST_NAMES).lines == b"x-order: 7\r\nlocation: /elsewhere\r\nrelay-durability: forged\r\n"


@pytest.mark.parametrize("value", [b"a\r\nx-more: b", b"a\nb", b"a\rb", b"a\0b"])
def test_a_line_that_would_break_out_is_no_line(value: bytes) -> None:
    assert passed_lines([(b"x-a", value)], TARGET_NAMES).lines is None


@pytest.mark.parametrize("name", [b"", b"x a", b"x:a", b"x\r\na", b"x\xe9"])
def test_a_name_that_is_none_is_left_out(name: bytes) -> None:
    assert passed_lines([(name, b"1"), (b"x-b", b"2")], TARGET_NAMES).lines == b"x-b: 2\r\n"


def test_no_more_names_are_remembered_than_that() -> None:
    names = Names(frozenset(), ())
    for number in range(MAX_REMEMBERED_NAMES + 1):
        assert names.rendered(b"X-%d" % number) == b"x-%d: " % number
    assert len(names._known) == 1


def relayed(socket: _Socket) -> CallerStream:
    return CallerStream(cast("web.BaseRequest", socket), RELAYED, "r-1", names=TARGET_NAMES)


def test_a_relayed_stream_gets_heartbeats_once_it_has_begun() -> None:
    socket = _Socket()
    stream = relayed(socket)
    assert not stream.heartbeat()
    assert stream.begin(Head(201, EVENTS, None, False), b"")
    assert not stream.heartbeat()
    assert socket.written == []
    stream.write(b"data: 1\n\n", False)
    assert stream.heartbeat()
    assert socket.written[0].startswith(b"HTTP/1.1 201 ")
    assert socket.written[1] == b"%x\r\n%b\r\n" % (len(PING), PING)
    stream.write(b"data: ", False)
    assert not stream.heartbeat()
    assert (stream.pings, stream.bytes_sent) == (1, 15)


def test_a_relayed_stream_that_breaks_says_so_in_our_words() -> None:
    socket = _Socket()
    stream = relayed(socket)
    assert stream.begin(Head(200, EVENTS, None, False), b"")
    stream.write(b"data: 1\n\n", False)
    stream.cut(UpstreamTimeout())
    _, event, _ = socket.written[-1].split(b"\r\n")
    assert event.startswith(b'event: error\ndata: {"error":"upstream_timeout",')
    assert event.endswith(b'"requestId":"r-1"}\n\n')


def test_nothing_is_written_into_a_compressed_stream() -> None:
    socket = _Socket()
    stream = relayed(socket)
    assert stream.begin(Head(200, [*EVENTS, (b"Content-Encoding", b"gzip")], None, False), b"")
    stream.write(b"\x1f\x8b...\n\n", False)
    assert b"x-accel-buffering: no\r\n" in socket.written[0]
    assert not stream.heartbeat()
    stream.cut(UpstreamTimeout())
    assert len(socket.written) == 1
    plain = relayed(socket)
    assert plain.begin(Head(200, [*EVENTS, (b"Content-Encoding", b"identity")], None, False), b"")
    plain.write(b"data: 1\n\n", False)
    assert plain.heartbeat()


def test_no_compressed_answer_follows_a_ping() -> None:
    socket = _Socket()
    stream = relayed(socket)
    assert stream.ping(b"")
    assert not stream.begin(Head(200, [*EVENTS, (b"Content-Encoding", b"br")], None, False), b"")
    assert stream.begin(Head(200, EVENTS, None, False), b"")
