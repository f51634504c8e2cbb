"""UUIDv7: the bits of RFC 9562, and an order that neither the clock nor threads can break."""

import functools
import operator
import subprocess
import sys
import threading
import time
from itertools import pairwise
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from relay_contract.ids import _Clock, _layout, uuid7, uuid7_text


def test_layout_is_the_example_of_rfc_9562_appendix_a_6() -> None:
    # unix_ts_ms 0x017F22E279B0, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F
    made = _layout(0x017F22E279B0 << 12 | 0xCC3, 0x18C4DC0C0C07398F)
    assert UUID(int=made) == UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")


def test_version_variant_and_time() -> None:
    before_ms = time.time_ns() // 1_000_000
    made = uuid7()
    after_ms = time.time_ns() // 1_000_000
    assert made.version == 7
    assert made.int >> 62 & 0b11 == 0b10
    # Borrowing from the next millisecond needs 2,048 ids within one; a fresh process is far from it.
    assert before_ms <= made.int >> 80 <= after_ms + 1
    assert UUID(str(made)) == made


def test_ids_of_one_process_rise_strictly() -> None:
    made = [uuid7() for _ in range(20_000)]
    assert made == sorted(set(made))
    assert [str(one) for one in made] == sorted(str(one) for one in made)


def test_texts_and_ids_are_one_rising_row() -> None:
    made = [each for _ in range(1_000) for each in (uuid7_text(), str(uuid7()))]
    assert made == sorted(set(made))
    assert [str(UUID(text)) for text in made] == made
    assert {(UUID(text).version, UUID(text).variant) for text in made} == {(7, RFC_4122)}


def test_every_random_bit_is_used() -> None:
    made = [uuid7().int for _ in range(2_000)]  # more than wait in memory at once
    ones = functools.reduce(operator.or_, made) & 2**62 - 1
    zeros = functools.reduce(operator.or_, [~one for one in made]) & 2**62 - 1
    assert ones == zeros == 2**62 - 1
    assert len({one & 2**62 - 1 for one in made}) == 2_000


def test_threads_never_share_an_id() -> None:
    made: list[list[UUID]] = [[] for _ in range(4)]

    def fill(own: list[UUID]) -> None:
        own.extend(uuid7() for _ in range(5_000))

    threads = [threading.Thread(target=fill, args=(own,)) for own in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for own in made for one in own}) == 20_000
    assert all(own == sorted(own) for own in made)


@given(st.lists(st.tuples(st.integers(0, 2**48 - 5000), st.integers(0, 0x7FF)), min_size=1, max_size=200))
def test_order_holds_for_any_clock(readings: list[tuple[int, int]]) -> None:
    clock = _Clock()
    ticks = [clock.tick(now_ms, seed) for now_ms, seed in readings]
    assert all(earlier < later for earlier, later in pairwise(ticks))
    assert max(ticks) >> 12 >= max(now_ms for now_ms, _ in readings)


@given(st.integers(0, 2**60 - 1), st.integers(0, 2**60 - 1), st.integers(0, 2**80 - 1), st.integers(0, 2**80 - 1))
def test_a_later_tick_sorts_later_whatever_the_random_bits(one: int, other: int, noise: int, more_noise: int) -> None:
    assert (_layout(one, noise) < _layout(other, more_noise)) == (one < other) or one == other


def test_a_full_counter_borrows_from_the_next_millisecond() -> None:
    clock = _Clock()
    clock.tick(1_000, 0x7FF)
    ticks = [clock.tick(1_000, 0) for _ in range(3_000)]
    assert ticks[-1] >> 12 == 1_001
    assert clock.tick(1_002, 5) == 1_002 << 12 | 5


def test_a_forked_child_gets_a_lock_of_its_own() -> None:
    # The lock is held while the process forks, as another thread would hold it. In a process of its own: forking one
    # that has threads, as a test runner's worker does, is a warning from Python 3.12 on.
    script = """
import os
from relay_contract import ids
with ids._clock._lock:
    child = os.fork()
    if child == 0:
        ids.uuid7()
        os._exit(7)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=30, check=False).returncode == 7


def test_a_forked_child_does_not_go_on_with_its_parents_random_bits() -> None:
    script = """
import os
from relay_contract import ids
ids.uuid7()  # the others of its portion wait
reading, writing = os.pipe()
if os.fork() == 0:
    os.write(writing, b"%d" % (ids.uuid7().int & 2**62 - 1))
    os._exit(0)
os.wait()
raise SystemExit(7 if int(os.read(reading, 100)) != ids.uuid7().int & 2**62 - 1 else 1)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=30, check=False).returncode == 7
