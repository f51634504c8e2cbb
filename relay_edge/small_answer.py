"""A small answer as a whole, for the edge's own questions (a vault's secret, a target's token). No I/O."""

from relay_edge.upstream import Head, UpstreamConnection


class SmallAnswer:
    """Receives one answer; a longer one than it takes ends the connection. Made for one exchange."""

    __slots__ = ("_body", "_connection", "_max_bytes", "status")

    def __init__(self, max_bytes: int) -> None:
        self.status = 0
        self._body = bytearray()
        self._max_bytes = max_bytes
        self._connection: UpstreamConnection | None = None

    @property
    def body(self) -> bytes:
        """As much as was read: of an answer that is too large some bytes more than it takes."""
        return bytes(self._body)

    @property
    def is_too_large(self) -> bool:
        """Then the exchange failed too, for that reason."""
        return len(self._body) > self._max_bytes

    def on_start(self, connection: UpstreamConnection) -> None:
        """See Receiver."""
        self._connection = connection
        self._body.clear()  # of a try before

    def on_head(self, head: Head) -> bool:
        """See Receiver."""
        self.status = head.status
        return True

    def on_data(self, body: bytes, is_end: bool) -> None:  # noqa: ARG002 (the exchange tells the end)
        """See Receiver."""
        self._body += body
        if self.is_too_large and self._connection is not None:
            self._connection.close()
