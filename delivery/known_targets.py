"""Targets that a process's claims have to lock, since something of them is counted over all workers."""

import time
from collections.abc import Collection

from delivery import limits
from delivery.database import Connection

KNOWN_SECONDS = 10.0
"""How long a target is locked in each claim after one met it and needed its lock."""
MAX_KNOWN = 512
"""Of more, those that were met last: each claim makes room for what it met."""


class KnownTargets:
    """Those that claims met lately, through the claims' own connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._met_at: dict[int, float] = {}  # the longest ago first

    async def meet(self, target_ids: Collection[int]) -> None:
        """Have these locked from now on. Raises DatabaseAway."""
        strangers = [target_id for target_id in target_ids if target_id not in self._met_at]
        if strangers:
            await self._connection.rows(limits.ENSURE, (strangers,))
        for target_id in target_ids:
            self._met_at.pop(target_id, None)
            self._met_at[target_id] = time.monotonic()
        for target_id in list(self._met_at)[:-MAX_KNOWN]:
            del self._met_at[target_id]

    def ids(self) -> list[int]:
        """Those that are to be locked; what was not met for a while is forgotten."""
        oldest = time.monotonic() - KNOWN_SECONDS
        for target_id in [target_id for target_id, met_at in self._met_at.items() if met_at < oldest]:
            del self._met_at[target_id]
        return list(self._met_at)
