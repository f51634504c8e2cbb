"""The one reference to the current snapshot, and the clear text of host keys.

Written by `listen.py` alone, read by every request. A swap is one assignment: a request that took `catalog.snapshot`
sees one moment of the catalog until it ends.
"""

import asyncio
import time

from relay_contract.nouns import HostKey, host_key_binding
from relay_contract.sealing import Sealer
from relay_edge.catalog.snapshot import Snapshot

MAX_OPENED_VALUES = 10_000
"""Opened host keys kept at most. Opening one costs 2 us, so losing them all costs next to nothing."""


class Catalog:
    """What requests read. No I/O."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
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
        """The credential in clear text. SealingError when it was sealed for another row or with another master key."""
        opened = self._opened.get(host_key.id)
        if opened is not None and opened[0] == host_key.sealed_value:
            return opened[1]
        value = self._sealer.unseal(host_key.sealed_value, host_key_binding(host_key.id))
        if len(self._opened) >= MAX_OPENED_VALUES:
            self._opened.clear()
        self._opened[host_key.id] = (host_key.sealed_value, value)
        return value
