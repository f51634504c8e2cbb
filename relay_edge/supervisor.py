"""Keeps N forked processes alive. Knows nothing of what they do.

Runs before and without any event loop or thread: it waits for signals with `sigtimedwait`, so no handler of it ever
runs in the middle of something.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
WATCHED = ENDING | {signal.SIGCHLD}
LONG_LIFE_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.25
MAX_PAUSE_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 5.0


class _Place:
    """One of the N, whoever fills it."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.pid: int | None = None
        self.started_at = 0.0
        self.due_at = 0.0
        self.pause_seconds = FIRST_PAUSE_SECONDS


class Supervisor:
    """`work(index)` is a process' whole life; it exits with 0 when it returns."""

    def __init__(
        self,
        processes: int,
        work: Callable[[int], None],
        *,
        in_child: Callable[[int], None],
        kill_after_seconds: float,
    ) -> None:
        """`in_child` is called first in a new process, with the parent's id. `kill_after_seconds`: after being told to
        end, a process has so long before it is killed."""
        self._places = [_Place(index) for index in range(processes)]
        self._work = work
        self._in_child = in_child
        self._kill_after_seconds = kill_after_seconds
        self._kill_at: float | None = None

    def run(self) -> None:
        """Returns when it was told to end and all processes have."""
        signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        while True:
            if self._kill_at is None:
                self._fill_places()
            received = signal.sigtimedwait(WATCHED, self._wait_seconds())
            if received is not None and received.si_signo in ENDING:
                self._end_all()
            self._reap()
            if self._kill_at is not None:
                if not self._alive():
                    return
                if time.monotonic() >= self._kill_at:
                    self._signal_all(signal.SIGKILL)

    def _alive(self) -> list[_Place]:
        return [place for place in self._places if place.pid is not None]

    def _fill_places(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.pid is None and place.due_at <= now:
                self._start(place)

    def _start(self, place: _Place) -> None:
        parent_pid = os.getpid()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self._live(place.index, parent_pid)
        place.pid, place.started_at = pid, time.monotonic()

    def _live(self, index: int, parent_pid: int) -> NoReturn:
        """The child. Never returns into the parent's stack, whatever happens."""
        status = 1
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
            self._in_child(parent_pid)
            self._work(index)
            status = 0
        except SystemExit as asked:
            status = asked.code if isinstance(asked.code, int) else 1
        except BaseException:
            logger.exception("process_failed", extra=log_fields(process_index=index))
        finally:
            sys.stdout.flush()
            os._exit(status)

    def _wait_seconds(self) -> float:
        now = time.monotonic()
        moments = [place.due_at for place in self._places if place.pid is None] if self._kill_at is None else []
        if self._kill_at is not None:
            moments.append(self._kill_at)
        return max(0.01, min([LONGEST_WAIT_SECONDS, *(moment - now for moment in moments)]))

    def _reap(self) -> None:
        for place in self._alive():
            assert place.pid is not None
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if pid:
                self._ended(place, os.waitstatus_to_exitcode(status))

    def _ended(self, place: _Place, exit_code: int) -> None:
        """`exit_code` is negative for a signal."""
        now = time.monotonic()
        if now - place.started_at >= LONG_LIFE_SECONDS:
            place.pause_seconds, place.due_at = FIRST_PAUSE_SECONDS, now
        else:
            place.due_at = now + place.pause_seconds
            place.pause_seconds = min(2 * place.pause_seconds, MAX_PAUSE_SECONDS)
        if self._kill_at is None:
            fields = log_fields(process_index=place.index, pid=place.pid, exit_code=exit_code)
            logger.error("process_ended", extra=fields)
        place.pid = None

    def _end_all(self) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._kill_after_seconds
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        for place in self._alive():
            assert place.pid is not None
            os.kill(place.pid, number)  # not reaped yet, so the number is still its own
