"""Keep-alives for callers of streams whose host is silent: proxies and SDKs give up on a connection that says nothing.

Per stream: 0.5 us, one place on the wheel, 0.1 us a look. Per piece of an answer: nothing. A stream is looked at LOOKS
times in the period; when as many looks in a row find nothing new, it was quiet for the period and at most a look more.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Final

from relay_edge.deadlines import DeadlineWheel
from relay_edge.streaming import CallerStream

PING_SECONDS: Final = 15.0
"""Below the 30 to 60 s after which common proxies cut a silent connection."""

LOOKS: Final = 3


class Pings:
    """One for each process."""

    __slots__ = ("_look_seconds", "_wheel")

    def __init__(self, wheel: DeadlineWheel, seconds: float = PING_SECONDS) -> None:
        """`seconds` of quiet before each ping; 0: there are none."""
        self._wheel = wheel
        self._look_seconds = seconds / LOOKS

    def keep_alive(self, stream: CallerStream, lines: bytes) -> None:
        """Until the stream is closed. `lines`: header lines of ours, for a head that a ping has to send."""
        if self._look_seconds:
            stream.on_close = _Quiet(self._wheel, stream, partial(stream.ping, lines), self._look_seconds).stop

    def keep_begun_alive(self, stream: CallerStream, seconds: float) -> None:
        """The same from the answer's head on, with a period of its own; 0: never."""
        if seconds:
            stream.on_close = _Quiet(self._wheel, stream, stream.heartbeat, seconds / LOOKS).stop


class _Quiet:
    """How long a stream has been quiet."""

    __slots__ = ("_bytes_seen", "_look_seconds", "_looks", "_ping", "_stream", "_wheel", "deadline")

    def __init__(
        self, wheel: DeadlineWheel, stream: CallerStream, ping: Callable[[], bool], look_seconds: float
    ) -> None:
        self._wheel = wheel
        self._stream = stream
        self._ping = ping
        self._look_seconds = look_seconds
        self._looks = self._bytes_seen = 0
        self.deadline = math.inf
        wheel.add(self)  # the wheel's time is true for whoever is on it
        self.deadline = wheel.now + look_seconds

    def stop(self) -> None:
        """The stream is over."""
        self._wheel.discard(self)

    def on_deadline(self) -> None:
        """The wheel's call: a look."""
        self.deadline = self._wheel.now + self._look_seconds
        sent = self._stream.bytes_sent
        if sent != self._bytes_seen:
            self._bytes_seen, self._looks = sent, 0
            return
        self._looks += 1
        if self._looks >= LOOKS and self._ping():
            self._looks = 0
