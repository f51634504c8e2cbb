"""An answer that is no conversation, watched: its events pass whatever they hold, and what they say of usage is noted.

Streams of images, speech and transcripts have no end mark of their own, so such a stream ends well with its last byte.
Source: platform.openai.com/docs/api-reference/images-streaming, .../audio, read 2026-11.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from relay_contract.usage import Usage
from relay_edge.protocols.event_watch import EventWatch
from relay_edge.protocols.openai_chat.read_answer import read_failure

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Said(msgspec.Struct, gc=False):
    """What is read of an event or a whole answer."""

    usage: Any = None
    meta: Any = None
    duration: Any = None  # of sound, in seconds
    error: Any = None
    delta: Any = None


class AnswerWatch(EventWatch):
    """See StreamWatch."""

    __slots__ = ("_found", "_reader")

    _decode: Callable[[bytes], Said] = staticmethod(msgspec.json.Decoder(Said).decode)

    def __init__(self, reader: Callable[[Any, Any, Any], Usage | None], _hides_usage: bool = False) -> None:
        """`reader`: `usage`, `meta` and `duration` of an event or a whole answer -> what they say."""
        super().__init__()
        self._reader = reader
        self._found: Usage | None = None

    @property
    def usage(self) -> Usage | None:
        """What the host said."""
        return self._found

    def end(self) -> bytes:
        """See StreamWatch."""
        self.has_finished = self.has_content
        return super().end()

    def see_whole(self, body: bytes) -> None:
        """A whole answer instead of a stream. Never raises: what cannot be read says nothing."""
        with suppress(*_UNREADABLE):
            self._hear(self._decode(body))

    def _hear(self, said: Said) -> None:
        """Notes what was used, where it says so."""
        self._found = self._reader(said.usage, said.meta, said.duration) or self._found

    def _read(self, payload: bytes, name: bytes) -> bool:  # noqa: ARG002  # events tell their type themselves
        if payload.strip() == b"[DONE]":
            self._end_mark()
            return True
        try:
            said = self._decode(payload)
        except _UNREADABLE:
            self._deliver("")  # it need not be JSON
            return True
        if said.error is not None:
            self._fail(read_failure(said.error))
            return True
        self._deliver(said.delta if isinstance(said.delta, str) else "")
        self._hear(said)
        return True
