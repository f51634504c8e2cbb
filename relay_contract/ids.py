"""Time-ordered ids for everything the relay creates: requests, deliveries, attempts, messages.

UUID version 7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, 12 bits of counter, 62 random bits. Ids of one
process are strictly increasing, also within a millisecond and when the clock steps back, so a B-tree on them is only
ever appended to and "newest first" needs no second column. Two processes are ordered by their clocks alone.

The text form of a request id is the plain UUID, `uuid7_text()`. It may be public: it tells when, not what. It is no
secret: random bits wait in memory for ids to come.
Cost: 1.1 us a text, 1.3 us a UUID; one `getrandom` system call for 256 of them, no other I/O.
"""

import os
import struct
import threading
import time
from collections.abc import Iterator
from uuid import UUID

_COUNTER_BITS = 12
_RANDOM_BITS = 62
_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM_MASK = (1 << _RANDOM_BITS) - 1
_COUNTER_MASK = (1 << _COUNTER_BITS) - 1
_SEED_MASK = _COUNTER_MASK >> 1  # a fresh counter starts in its lower half, which leaves at least 2,048 steps (6.2)
_NOISE = struct.Struct("=HQ")  # a counter's seed and the random bits of one id
_NOISE_IDS = 256
_MAX_INT = (1 << 128) - 1


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


class _Noise:
    """Random bits from the kernel, asked for many ids at once: a system call for each would cost 0.8 us."""

    def __init__(self) -> None:
        self._waiting: Iterator[tuple[int, int]] = iter(())

    def take(self) -> tuple[int, int]:
        """16 and 64 random bits that nobody was given before. `next` on this iterator is one step for every thread."""
        taken = next(self._waiting, None)
        if taken is None:
            fresh = _NOISE.iter_unpack(os.urandom(_NOISE.size * _NOISE_IDS))
            taken = next(fresh)
            self._waiting = fresh
        return taken

    def forget(self) -> None:
        """For a forked child: its parent goes on with the same bits."""
        self._waiting = iter(())


_clock = _Clock()
_noise = _Noise()
os.register_at_fork(after_in_child=_clock.forget_lock)
os.register_at_fork(after_in_child=_noise.forget)


def _layout(tick: int, random: int) -> int:
    """A UUIDv7's number: `tick` is milliseconds << 12 | counter, of `random` the low 62 bits are used."""
    return (tick >> _COUNTER_BITS) << 80 | _VERSION | (tick & _COUNTER_MASK) << 64 | _VARIANT | random & _RANDOM_MASK


def _next() -> int:
    seed, random = _noise.take()
    return _layout(_clock.tick(time.time_ns() // 1_000_000, seed & _SEED_MASK), random)


def uuid7_bound(ms: int) -> UUID:
    """The lowest id of a Unix millisecond: ids from then on are not below it. For ranges of time over ids."""
    return UUID(int=ms << 80)


def uuid7_ms(made: UUID) -> int:
    """The Unix millisecond in which an id was made."""
    return made.int >> 80


def uuid7_shifted(made: UUID, ms: int) -> UUID:
    """The id moved in time by so many milliseconds: a bound for what was made up to then. Never below or above any."""
    return UUID(int=min(max(0, made.int + (ms << 80)), _MAX_INT))


def uuid7() -> UUID:
    """A new id, greater than every id this process made before."""
    return UUID(int=_next())


def uuid7_text() -> str:
    """A new id as text, for those who need no UUID object, which costs as much again."""
    digits = _next().to_bytes(16, "big").hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
