"""One call of the test console, in a thread of its own: a stand-in key, the call, the answer piece by piece.

Costs a relay key's row, a connection to the edge and nothing else. Goes to the edge that the settings name, follows no
redirect, ends after five minutes or a megabyte, and may be stopped from another thread at any moment.
"""

import codecs
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, TypeAlias

from django.core.exceptions import ValidationError
from django.db import connection

from relay_admin import edge_client
from relay_admin.access import acting, services
from relay_admin.access.models import RelayKey, User
from relay_admin.access.stand_ins import stand_in_mint
from relay_contract import headers
from relay_contract.nouns import Scope
from relay_contract.traffic import ErrorSource

Event: TypeAlias = dict[str, Any]
"""`kind`: `head` (`status`, `reason`, `headers`, `said`, `ms`), `data` (`text`, `ms`), `end` (`ms`, `bytes`, `said`) or
`problem` (`text`). Times are milliseconds since the call was sent."""
Tell: TypeAlias = Callable[[Event], None]

MAX_SECONDS = 300
MAX_ANSWER_BYTES = 1024 * 1024
KNOWN_WITHIN_SECONDS = 5.0
_AGAIN_SECONDS = 0.05
_PIECE_BYTES = 16_384
_REFUSED = 401

WORDS = {
    ErrorSource.CLIENT: "The relay refused the call: the answer says what is wrong with it.",
    ErrorSource.RELAY: "The relay could not serve the call: the answer says why.",
    ErrorSource.UPSTREAM: "It came as far as a host or target, which failed.",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be sent. `path` begins with a slash."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class ConsoleCall:
    """Made by whoever asks, run once in a thread, stopped by anybody."""

    def __init__(self, asked: Asked, relay_key: RelayKey, scope: Scope, user: User, actor: acting.Actor) -> None:
        self.user = user
        self._asked, self._relay_key, self._scope, self._actor = asked, relay_key, scope, actor
        self._stopped = threading.Event()
        self._socket: socket.socket | None = None
        self._sent_at = 0.0

    @property
    def is_stopped(self) -> bool:
        """Whether nobody waits for more of it."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """The edge sees its caller leave."""
        self._stopped.set()
        if self._socket is not None:
            with suppress(OSError):  # it has ended by itself
                self._socket.shutdown(socket.SHUT_RDWR)

    def run(self, tell: Tell) -> None:
        """Tells what comes, the end or a problem last."""
        try:
            self._run(tell)
        except (edge_client.EdgeError, ValidationError) as error:
            text = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
            tell({"kind": "problem", "text": text})

    def _run(self, tell: Tell) -> None:
        edge, prefix = edge_client.open_connection()
        try:
            with self._failures_in_words():
                with self._stand_in() as token:
                    answer = self._answered(edge, prefix, token)
                tell(self._head(answer))
                size, said = 0, ""
                for piece, text in self._pieces(answer):
                    size += len(piece)
                    if text:
                        tell({"kind": "data", "text": text, "ms": self._ms()})
                    if size > MAX_ANSWER_BYTES:
                        said = f"The console shows {MAX_ANSWER_BYTES:,} bytes of an answer and stopped there."
                        break
            tell({"kind": "end", "ms": self._ms(), "bytes": size, "said": said})
        finally:
            edge.close()

    @contextmanager
    def _failures_in_words(self) -> Iterator[None]:
        """Raises EdgeError."""
        try:
            yield
        except (OSError, HTTPException) as error:
            if self.is_stopped:
                raise edge_client.EdgeError("Stopped.") from error
            if self._sent_at and isinstance(error, TimeoutError):
                raise edge_client.EdgeError(f"The console waits {MAX_SECONDS} s for an answer and stopped.") from error
            if self._sent_at:
                raise edge_client.EdgeError("The edge closed the connection before the answer was whole.") from error
            raise edge_client.unreachable() from error

    @contextmanager
    def _stand_in(self) -> Iterator[str]:
        """Its token; revoked whatever happens."""
        with self._database():
            minted = stand_in_mint(relay_key=self._relay_key, scope=self._scope, created_by=self.user)
        try:
            yield minted.token
        finally:
            with self._database():
                services.relay_key_revoke(relay_key=minted.relay_key)

    @contextmanager
    def _database(self) -> Iterator[None]:
        """For what is written in the name of who asked. Nobody waits for an edge with a connection of the pool."""
        with acting.acting(lambda: self._actor):
            yield
        if not connection.in_atomic_block:  # of whoever runs the call inside theirs
            connection.close()

    def _answered(self, edge: HTTPConnection, prefix: str, token: str) -> HTTPResponse:
        """The head of the answer, sent again while the edge's processes have not heard of the key."""
        until = time.monotonic() + KNOWN_WITHIN_SECONDS
        while True:
            answer = self._sent(edge, prefix, token)
            is_unknown = answer.status == _REFUSED and answer.getheader(headers.ERROR_SOURCE) == ErrorSource.CLIENT
            if not is_unknown or time.monotonic() > until or self.is_stopped:
                return answer
            edge.close()
            self._stopped.wait(_AGAIN_SECONDS)

    def _sent(self, edge: HTTPConnection, prefix: str, token: str) -> HTTPResponse:
        edge.connect()
        self._socket = edge.sock
        if self.is_stopped:
            raise edge_client.EdgeError("Stopped.")
        self._sent_at = time.monotonic()
        edge.putrequest(self._asked.method, f"{prefix}{self._asked.path}", skip_accept_encoding=True)
        for name, value in self._asked.headers:
            edge.putheader(name, value.encode("latin-1"))
        edge.putheader("Authorization", f"Bearer {token}")
        if self._asked.body or self._asked.method not in ("GET", "HEAD"):
            edge.putheader("Content-Length", str(len(self._asked.body)))
        edge.endheaders(self._asked.body or None)
        self._socket.settimeout(MAX_SECONDS)
        return edge.getresponse()

    def _pieces(self, answer: HTTPResponse) -> Iterator[tuple[bytes, str]]:
        """As they come, with what of them is whole characters."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        assert self._socket is not None
        while True:
            self._socket.settimeout(max(0.001, self._sent_at + MAX_SECONDS - time.monotonic()))
            piece = answer.read1(_PIECE_BYTES)
            yield piece, decoder.decode(piece, final=not piece)
            if not piece:
                break
        if self.is_stopped:
            raise edge_client.EdgeError("Stopped.")

    def _head(self, answer: HTTPResponse) -> Event:
        source = answer.getheader(headers.ERROR_SOURCE, "")
        shown = [(name.lower(), value) for name, value in answer.getheaders() if name.lower() != headers.KEY_SUCCESSOR]
        return {
            "kind": "head",
            "status": answer.status,
            "reason": answer.reason,
            "headers": shown,
            "said": WORDS[ErrorSource(source)] if source in set(ErrorSource) else "",
            "ms": self._ms(),
        }

    def _ms(self) -> float:
        return round((time.monotonic() - self._sent_at) * 1000, 1)
