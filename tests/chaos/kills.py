"""Which processes of the product are killed, and when. A plan is pure: one seed, one plan.

Only descendants of the product that the run itself started are ever killed, by the process id read a moment before.
"""

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.chaos import money
from tests.system.product import Process, Product, wait_for

MARKS = {
    "edge": "-m relay_edge",  # the parent and each of its processes
    "worker": "delivery.app worker",  # those of the async lane and that of the sync lane
    "valkey": "valkey-server",
    "postgres": "postgres",  # the server and each of its backends
}
FLUSH = "flush"  # no process: Redis is emptied
KINDS = (*MARKS, FLUSH)
BACK_SECONDS = 60.0
"""How long a kind may be gone before its next kill; the supervisor's longest pause is a quarter of it."""
PAYING_SECONDS = 2.0
"""What purses get to pay in before a kill that waited for them."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL, or FLUSHALL, due when so many calls are acknowledged.

    `choice` in [0, 1) says which process of the kind: below a half the first, which is the parent of the others if one
    is; above it any of them. One that `waits` comes when purses pay: they open some seconds after Redis lost them, and
    with kills in quick succession they never would.
    """

    at_acknowledged: int
    kind: str
    choice: float
    waits: bool


def plan(seed: int, requests: int, kills: int, waiting: float = 0.0) -> list[Kill]:
    """So many kills in the order they are due, spread over the calls; kinds differ by one kill at the most. `waiting`:
    the share of those that wait for purses."""
    chance = random.Random(seed)
    rounds = -(-kills // len(KINDS))
    kinds = [kind for _ in range(rounds) for kind in chance.sample(KINDS, len(KINDS))][:kills]
    moments = sorted(chance.randrange(requests // 50, requests) for _ in kinds)
    return [
        Kill(moment, kind, chance.random(), chance.random() < waiting)
        for moment, kind in zip(moments, kinds, strict=True)
    ]


class Killer:
    """Carries out a plan as acknowledgements come in. Call `on_acknowledged` from a thread that may wait."""

    def __init__(self, product: Product, kills: list[Kill]) -> None:
        self._product = product
        self._due = list(kills)
        self.killed: Counter[str] = Counter()
        self.commands: list[str] = []
        self.losses: list[datetime] = []
        """When Redis lost what it knew."""

    @property
    def next_at(self) -> int | None:
        """The acknowledgement that the next kill waits for; None: no more."""
        return self._due[0].at_acknowledged if self._due else None

    @property
    def next_waits(self) -> bool:
        """Whether the next kill is one that waits for purses."""
        return bool(self._due) and self._due[0].waits

    def let_pay(self) -> None:
        """Waits until purses pay, and for a while that they do. Raises AssertionError when they never do."""
        wait_for(lambda: money.is_open(self._product), "money to be open", BACK_SECONDS)
        time.sleep(PAYING_SECONDS)

    def kill_next(self) -> None:
        """Waits until the supervisor has brought the kind back, where it was killed before. Raises AssertionError."""
        kill = self._due.pop(0)
        if kill.kind == FLUSH:
            wait_for(lambda: money.flush(self._product), "Redis to be emptied", BACK_SECONDS)
            self.losses.append(datetime.now(UTC))
            self.killed[FLUSH] += 1
            self.commands.append(f"{kill.at_acknowledged:>7} {FLUSH}")
            return
        while True:
            victim = wait_for(lambda: self._victim(kill), f"a {kill.kind} process to kill", BACK_SECONDS)
            try:
                os.kill(victim.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it ended by itself in between: a Postgres backend, a process that is being restarted
            if kill.kind == "valkey":
                self.losses.append(datetime.now(UTC))
            self.killed[kill.kind] += 1
            self.commands.append(f"{kill.at_acknowledged:>7} {kill.kind:<9} {victim.pid:>7} {victim.command[-60:]}")
            return

    def _victim(self, kill: Kill) -> Process | None:
        found = self._product.processes(MARKS[kill.kind])
        return found[int(max(0.0, 2 * kill.choice - 1) * len(found))] if found else None
