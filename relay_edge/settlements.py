"""Settlements on their way to Redis: each exactly once, whatever happens to the link. Pure: `redis_queue.py` sends.

The settlements of a loop turn leave in one command with a number. One that was not answered when the link broke is sent
again under the same number, before any new one, and `settle.lua` skips numbers that it has seen. Bounded: beyond
MAX_KEPT calls the oldest are dropped and counted; their leases run out, what they reserved slides out of its window.
"""

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import hiredis

from relay_contract.redis import keys, scripts
from relay_edge.charges import packed, packed_number
from relay_edge.metrics import Counter
from relay_edge.purses import PursePart
from relay_edge.redis_link import RedisLost, Reply
from relay_edge.reservation import Hold

MAX_KEPT = 20_000
MAX_CALLS = 64
"""Calls in one command."""

NO_PURSES: PursePart = (b"", 0, b"", 0)

_NO_CALL = packed([b"-", b"0", b"0", b"0"])

_LONGEST = 10**15  # far above a call's share, and below 2^53


def _within(number: int) -> int:
    return max(-_LONGEST, min(number, _LONGEST))


_Item = tuple[bytes, int, bytes, int]
"""One hold's part of the command: its keys and how many, its arguments and how many."""


@dataclass(slots=True)
class _Sent:
    items: list[_Item]
    packed: bytes


class Settlements:
    """One for each process."""

    def __init__(self, dropped: Counter, reload: Callable[[], None]) -> None:
        """`reload`: called when Redis has forgotten the script."""
        self._dropped = dropped
        self._reload = reload
        self._number = 0
        self._due: deque[_Item] = deque()
        self._again: deque[_Sent] = deque()
        self._sent = 0  # calls in commands that were not answered
        self._opening = packed([b"EVALSHA", scripts.SETTLE.sha1])
        self._first_keys = packed([keys.settled(os.urandom(8).hex()).encode(), keys.BREAKERS.encode()])

    def __len__(self) -> int:
        """Calls that Redis has not confirmed."""
        return len(self._due) + self._sent + sum(len(sent.items) for sent in self._again)

    @property
    def is_due(self) -> bool:
        """Whether `command` has something to send."""
        return bool(self._due or self._again)

    def add(self, hold: Hold, tokens: int, cost_nanousd: int, purses: PursePart = NO_PURSES) -> None:
        """`tokens` and `cost_nanousd` are given back; below 0 they were used beyond the reservation. `purses`: what is
        said of them besides."""
        rules, probes = hold.rules, hold.probes
        if not (-_LONGEST <= tokens <= _LONGEST and -_LONGEST <= cost_nanousd <= _LONGEST):
            tokens, cost_nanousd = _within(tokens), _within(cost_nanousd)
        purse_keys, purse_count, purse_arguments, purse_width = purses
        count = rules.settled_count + len(probes) + purse_count
        arguments = b"%b$13\r\n%013d\r\n$17\r\n%+017d\r\n$17\r\n%+017d\r\n$4\r\n%04d\r\n%b" % (
            hold.id,
            hold.at_ms,
            tokens,
            cost_nanousd,
            count,
            rules.settled_rules,
        )
        if probes:
            arguments += packed([part for breaker in probes for part in (b"p", breaker.encode(), b"0")])
        self._due.append(
            (
                rules.settled_keys + purse_keys,
                rules.settled_count + purse_count,
                arguments + purse_arguments,
                5 + (rules.settled_count + len(probes)) * 3 + purse_width,
            )
        )
        if len(self._due) > MAX_KEPT:
            self._due.popleft()
            self._dropped.value += 1

    def add_purses(self, part: PursePart) -> None:
        """Says something of purses that belongs to no call."""
        names, count, arguments, width = part
        self._due.append((names, count, _NO_CALL + packed_number(count) + arguments, 5 + width))

    def command(self) -> tuple[bytes, Callable[[Reply], None]]:
        """The next command, and who takes its reply. Only where `is_due`."""
        if self._again:
            sent = self._again.popleft()
        else:
            items = [self._due.popleft() for _ in range(min(len(self._due), MAX_CALLS))]
            self._number += 1
            sent = _Sent(items, self._command(items))
        self._sent += len(sent.items)

        def replied(reply: Reply) -> None:
            self._replied(sent, reply)

        return sent.packed, replied

    def _command(self, items: list[_Item]) -> bytes:
        key_count = 2 + sum([item[1] for item in items])
        argument_count = 1 + sum([item[3] for item in items])
        return b"*%d\r\n%b%b%b%b%b%b" % (
            3 + key_count + argument_count,
            self._opening,
            packed([b"%d" % key_count]),
            self._first_keys,
            b"".join([item[0] for item in items]),
            packed([b"%d" % self._number]),
            b"".join([item[2] for item in items]),
        )

    def _replied(self, sent: _Sent, reply: Reply) -> None:
        self._sent -= len(sent.items)
        if isinstance(reply, RedisLost):
            self._again.append(sent)
            self._drop(len(self) - MAX_KEPT)
        elif isinstance(reply, hiredis.ReplyError):
            if str(reply).startswith("NOSCRIPT"):  # nothing of it was done: under a new number, behind the others
                self._reload()
                self._due.extendleft(reversed(sent.items))
            else:
                self._dropped.value += len(sent.items)

    def _drop(self, too_many: int) -> None:
        while too_many > 0 and self._again:
            dropped = len(self._again.popleft().items)
            self._dropped.value += dropped
            too_many -= dropped
