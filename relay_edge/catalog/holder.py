"""The one reference to the current snapshot, and the clear text of host keys.

Written by `listen.py` alone, read by every request. A swap is one assignment: a request that took `catalog.snapshot`
sees one moment of the catalog until it ends.
"""

import asyncio
import time

from relay_contract.nouns import HostKey, host_key_binding
from relay_contract.sealing import Sealer
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.secret_sources import SecretSources

MAX_OPENED_VALUES = 10_000
"""Opened host keys kept at most. Opening one costs 2 us, so losing them all costs next to nothing."""


class Catalog:
    """What requests read. No I/O."""

    def __init__(self, sealer: Sealer, sources: SecretSources | None = None) -> None:
        """`sources`: where the keys come from that are not sealed in their rows; None: there are no such keys."""
        self._sealer = sealer
        self._sources = sources
        self._references: tuple[Snapshot | None, frozenset[str]] = (None, frozenset())
        if sources is not None:
            sources.follow(self._wanted_references, self._renew)
        self._opened: dict[int, tuple[bytes, str]] = {}
        self.snapshot: Snapshot | None = None
        """None until the first load."""
        self.loaded_at: float | None = None
        """Unix time of the last moment at which the snapshot was known to be what Postgres holds."""
        self.is_connected = False
        """True while changes arrive."""
        self.loaded = asyncio.Event()
        """Set from the first load on."""
        self.problem = "the catalog was not read yet"
        """Why `is_connected` is False, for `/readyz`; never holds a URL."""

    def swap(self, snapshot: Snapshot) -> None:
        """Puts a new snapshot in place."""
        self.snapshot = snapshot
        self.loaded.set()
        self.confirm()

    def confirm(self) -> None:
        """The snapshot is current as of now: it was just read, or the connection that reports changes just answered."""
        self.loaded_at = time.time()
        self.is_connected = True
        self.problem = ""

    def lose(self, problem: str) -> None:
        """Changes no longer arrive; the last snapshot serves on and its age grows."""
        self.is_connected = False
        self.problem = problem

    def age_seconds(self) -> float | None:
        """How old the snapshot may be: seconds since `loaded_at`; None when nothing was loaded."""
        return None if self.loaded_at is None else max(0.0, time.time() - self.loaded_at)

    def host_key_value(self, host_key: HostKey) -> str:
        """The credential in clear text. SealingError when it does not open, or its source gave none. No I/O."""
        if host_key.reference and self._sources is not None:
            return self._sources.value(host_key.reference)
        opened = self._opened.get(host_key.id)
        if opened is not None and opened[0] == host_key.sealed_value:
            return opened[1]
        value = self._sealer.unseal(host_key.sealed_value, host_key_binding(host_key.id))
        if len(self._opened) >= MAX_OPENED_VALUES:
            self._opened.clear()
        self._opened[host_key.id] = (host_key.sealed_value, value)
        return value

    async def refresh_host_key(self, host_key: HostKey) -> bool:
        """Reads a key's source anew, for a key that its host refused; whether its value became another.

        Then there is a new snapshot, and what was prepared from the old one is out of date. May take as long as the
        source (`vault.TIMEOUTS`); callers of one moment share one read, and whoever leaves does not end it.
        """
        if not host_key.reference or self._sources is None:
            return False
        return await self._sources.refresh(host_key.reference)

    def _wanted_references(self) -> frozenset[str]:
        snapshot = self.snapshot
        if snapshot is None:
            return frozenset()
        if self._references[0] is not snapshot:
            self._references = (snapshot, snapshot.references())
        return self._references[1]

    def _renew(self) -> None:
        """The same rows as another snapshot: what was derived from the old one is derived again."""
        if self.snapshot is not None:
            self.snapshot = self.snapshot.apply({})
