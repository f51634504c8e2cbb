"""TLS contexts that show a target's client certificate: made once for a target and version, off the event loop.

A context takes 20 ms and 0.8 MB, nearly all of it the system's authorities. The pool keys connections by it, so what
was opened with one certificate never carries a request of another. Bounded: the one that was made first goes first,
and is made anew when its target is next called.
"""

import asyncio
import ssl
from typing import TypeAlias

from relay_edge.upstream_pool import ClientCertificate, client_tls

MAX_KEPT = 128

Key: TypeAlias = tuple[int, int]
"""A target's id and version."""


class ClientContexts:
    """One for each process; belongs to one event loop."""

    def __init__(self) -> None:
        self._made: dict[Key, asyncio.Task[ssl.SSLContext]] = {}

    async def of(self, key: Key, shown: ClientCertificate) -> ssl.SSLContext:
        """Without waiting once it is made; whoever comes while it is waits for the same one. Raises CertificateError.
        Cancelling the wait does not cancel the making."""
        making = self._made.get(key)
        if making is None:
            while len(self._made) >= MAX_KEPT:
                del self._made[next(iter(self._made))]
            making = self._made[key] = asyncio.create_task(asyncio.to_thread(client_tls, client=shown))
            making.add_done_callback(lambda done: self._ended(key, done))
        return making.result() if making.done() else await asyncio.shield(making)

    def _ended(self, key: Key, made: asyncio.Task[ssl.SSLContext]) -> None:
        """A failure is not kept, and looked at here, as everybody who waited may have gone."""
        if (made.cancelled() or made.exception() is not None) and self._made.get(key) is made:
            del self._made[key]
