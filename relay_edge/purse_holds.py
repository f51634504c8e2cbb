"""What this process holds of purses, and how Redis is told that it lives.

Each second it says so under a name of its own (`keys.alive`) and reads the marker (`keys.MONEY`). A name lasts as long
as a connection: an admission whose reply was lost with one may hold something that nobody will ever settle, and the
keeper takes that back once the name is silent. What calls in flight hold moves to the new name, and so it does when
everything was seeded anew, since a Redis that lost everything has not heard of it. Both go through `settle.lua`,
numbered, so each exactly once. When that is done, and each row of a call that ended before is written, the process says
so: the keeper lets purses pay when all have.
"""

import asyncio
import os
import time
from collections.abc import Callable

from relay_contract.errors import BudgetExceeded, InsufficientCredits, RelayError, Unavailable
from relay_contract.periods import end_ms
from relay_contract.redis import keys
from relay_edge.charges import command
from relay_edge.metrics import Metrics
from relay_edge.purses import PurseHold, PurseSet, Stamp
from relay_edge.redis_link import Reply
from relay_edge.redis_queue import RedisQueue

BEAT_SECONDS = 1.0
CLOSED_RETRY_SECONDS = 2.0

BUDGET, CREDITS, CLOSED = 2, 3, 4
"""What admit.lua refuses with."""

_MOST_PRICE = 10**14
"""A call asks for no more; with the highest mark-up it stays below 2^53."""
_CLOSED_TEXT = (
    "What calls may spend cannot be looked up at the moment, and this call is paid beforehand or falls under a budget."
    " Nothing was accepted. Try again after the time in Retry-After."
)
_OWNERS = {
    "key": "relay key",
    "user": "user in this project",
    "project": "project",
    "grant": "user's permission for this application",
}


def closed() -> Unavailable:
    """Raised where no purse can be asked."""
    return Unavailable(_CLOSED_TEXT, retry_after_seconds=CLOSED_RETRY_SECONDS)


class PurseHolds:
    """One for each process. `start` once the queue was started, `close` before it is closed."""

    def __init__(
        self,
        queue: RedisQueue,
        metrics: Metrics,
        *,
        top_up_url: str = "",
        unwritten_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`top_up_url`: told to who has too few credits; "" where there is none. `unwritten_seconds`: how old the
        oldest row is that Postgres does not have."""
        self._queue = queue
        self._top_up_url = top_up_url
        self._unwritten_seconds = unwritten_seconds
        self._refused = {
            code: metrics.registry.counter(
                "relay_edge_purse_refusals_total", "Calls that a purse refused.", reason=reason
            )
            for code, reason in ((BUDGET, "budget"), (CREDITS, "credits"), (CLOSED, "closed"))
        }
        metrics.registry.gauge(
            "relay_edge_purse_holds", "Calls that hold something of a purse.", "sum", lambda: len(self._live)
        )
        self._live: set[PurseHold] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._declared = 0
        self._moved_at = 0.0
        self._rename()

    def start(self) -> None:
        """Begins to beat."""
        self._rename()
        self._queue.on_connected = self._rename
        self._beat()

    def close(self) -> None:
        """Says no more. What is held runs out with the name."""
        if self._timer is not None:
            self._timer.cancel()

    # --- one call ---

    def asked(self, purses: PurseSet, price: int) -> PurseHold:
        """What a call of at most this price asks of its purses."""
        price = min(price, _MOST_PRICE)
        return PurseHold(purses, price, purses.most(price), self._stamp)

    def admitted(self, hold: PurseHold, reply: list[int]) -> None:
        """The call holds it from now on."""
        payer = reply[-3]
        if payer:
            hold.paying = hold.purses.payers[payer - 1]
        hold.at_ms = reply[1]
        self._live.add(hold)
        if reply[-2]:  # money has another marker than this process knew
            hold.stamp = hold.stamp.at(reply[-2], reply[-1])
            self._seen(reply[-2], reply[-1])

    def settled(self, hold: PurseHold) -> None:
        """The call is over."""
        self._live.discard(hold)

    def refusal(self, hold: PurseHold, reply: list[int]) -> RelayError:
        """What to raise for a call that a purse refused."""
        code, now_ms = reply[0], reply[1]
        self._refused[code].value += 1
        if code == BUDGET:
            return self._budget_exceeded(hold, reply)
        if code == CREDITS:
            return self._too_few_credits(hold, *reply[2:5])
        assert code == CLOSED and now_ms  # noqa: PT018
        return closed()

    def _budget_exceeded(self, hold: PurseHold, reply: list[int]) -> BudgetExceeded:
        _code, now_ms, number, used = reply
        budget = hold.purses.budgets[number - 1]
        reset_ms = end_ms(budget.period, now_ms)
        text = (
            f"The {budget.period} budget of this {_OWNERS[budget.scope]} has too little left for what this call may "
            "cost. Nothing was accepted. It begins anew after the time in Retry-After."
        )
        details: dict[str, int | str] = {
            "scope": budget.scope,
            "period": budget.period.value,
            "limit_microcredits": budget.limit,
            "used_microcredits": used,
            "needed_microcredits": hold.most,
            "reset_at": reset_ms // 1000,
        }
        return BudgetExceeded(text, retry_after_seconds=(reset_ms - now_ms) / 1000, details=details)

    def _too_few_credits(self, hold: PurseHold, granted: int, used: int, held: int) -> InsufficientCredits:
        paying = hold.purses.payers[-1]
        details: dict[str, int | str] = {
            "wallet": paying.account,
            "held_microcredits": held,
            "available_microcredits": granted - used,
            "needed_microcredits": paying.need(hold.price, hold.most),
        }
        if self._top_up_url:
            details["top_up_url"] = self._top_up_url
        return InsufficientCredits(details=details)

    # --- the process ---

    def _rename(self) -> None:
        name = os.urandom(8).hex().encode()
        self._stamp = Stamp(name, 0, 0, self._queue.run_id)  # so that the next marker moves what is held
        self._key = keys.alive(name.decode()).encode()
        self._declared = 0

    def _beat(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)
        if not self._queue.is_in_charge:
            return
        age = self._unwritten_seconds()
        if not self._queue.settlements.is_due and age < time.monotonic() - self._moved_at:
            self._declared = self._stamp.seed
        said, lasts = b"%d:%d" % (age, self._declared), b"%d" % keys.ALIVE_MS
        self._queue.tell(command(b"SET", self._key, said, b"PX", lasts), _heard)
        self._queue.tell(command(b"SADD", keys.EDGES.encode(), self._stamp.process), _heard)
        self._queue.tell(command(b"GET", keys.MONEY.encode()), self._marker)

    def _marker(self, reply: Reply) -> None:
        """The marker's word; none of another server's, or while there is none. Also while money is opening."""
        if not isinstance(reply, bytes):
            return
        parts = reply.removesuffix(b":opening").split(b":")
        if len(parts) == _PARTS and parts[2] == self._queue.run_id and parts[0].isdigit() and parts[1].isdigit():
            self._seen(int(parts[0]), int(parts[1]))

    def _seen(self, generation: int, seed: int) -> None:
        known = self._stamp
        if seed == known.seed and generation <= known.generation:
            return  # nothing new, or of a reply that was on its way
        stamp = self._stamp = known.at(generation, seed)
        if seed == known.seed:
            return
        self._moved_at = time.monotonic()
        for hold in self._live:
            if hold.stamp.process != stamp.process or hold.generation < seed:
                self._move(hold)

    def _move(self, hold: PurseHold) -> None:
        """Where Redis still knows the old hold it is taken back first."""
        self._queue.settlements.add_purses(hold.settled(0))
        hold.stamp = self._stamp
        self._queue.settlements.add_purses(hold.declared())
        self._queue.flush_soon()


_PARTS = 3


def _heard(_reply: Reply) -> None:
    """Nobody waits for it: the next beat says it again."""
