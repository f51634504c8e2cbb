"""A whole answer of the Gemini API, watched (ai.google.dev/api/generate-content, read 2026-11)."""

from relay_edge.protocols.event_watch import EventWatch
from relay_edge.protocols.fields import decode_object
from relay_edge.protocols.gemini.read_answer import StreamReader
from relay_edge.protocols.gemini.usage import read_usage


class ContentsWatch(EventWatch):
    """See StreamWatch. Nobody calls the relay in this shape, so no stream is ever watched; a whole answer is one event
    of a stream."""

    __slots__ = ()

    _read_usage = staticmethod(read_usage)

    def __init__(self, _hides_usage: bool = False) -> None:
        super().__init__()

    def _read(self, payload: bytes, _name: bytes) -> bool:
        self._see(StreamReader().read(decode_object(payload)))
        return True
