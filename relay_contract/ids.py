"""Time-ordered ids for everything the relay creates: requests, deliveries, attempts, messages.

UUID version 7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, 12 bits of counter, 62 random bits. Ids of one
process are strictly increasing, also within a millisecond and when the clock steps back, so a B-tree on them is only
ever appended to and "newest first" needs no second column. Two processes are ordered by their clocks alone.

The text form of a request id is the plain UUID, `str(uuid7())`. It may be public: it tells when, not what.
Cost: 1.7 us a call, one `getrandom` system call, no other I/O.
"""

import os
import threading
import time
from uuid import UUID

_COUNTER_BITS = 12
_RANDOM_BITS = 62
_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM_MASK = (1 << _RANDOM_BITS) - 1
_COUNTER_MASK = (1 << _COUNTER_BITS) - 1
_SEED_MASK = _COUNTER_MASK >> 1  # a fresh counter starts in its lower half, which leaves at least 2,048 steps (6.2)


class _Clock:
    """Milliseconds and counter as one growing integer; its overflow borrows from the next millisecond (6.2)."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()  # the control plane and Celery call from threads

    def tick(self, now_ms: int, seed: int) -> int:
        """The next value, greater than every one before; `now_ms` above `seed` when the clock has moved on."""
        with self._lock:
            fresh = now_ms << _COUNTER_BITS | seed
            # A clock that stands still or steps back must not bring order down: go on counting from the last value.
            self._last = fresh if fresh >> _COUNTER_BITS > self._last >> _COUNTER_BITS else self._last + 1
            return self._last

    def forget_lock(self) -> None:
        """For a forked child: another thread of the parent may have held the lock, which nobody would release here."""
        self._lock = threading.Lock()


_clock = _Clock()
os.register_at_fork(after_in_child=_clock.forget_lock)


def uuid7_at(tick: int, random: int) -> UUID:
    """Lay out a UUIDv7: `tick` is milliseconds << 12 | counter, of `random` the low 62 bits are used."""
    return UUID(
        int=(tick >> _COUNTER_BITS) << 80 | _VERSION | (tick & _COUNTER_MASK) << 64 | _VARIANT | random & _RANDOM_MASK
    )


def uuid7() -> UUID:
    """A new id, greater than every id this process made before."""
    random = int.from_bytes(os.urandom(10), "big")
    return uuid7_at(_clock.tick(time.time_ns() // 1_000_000, random >> 64 & _SEED_MASK), random)
