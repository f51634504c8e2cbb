"""Keeps a handful of processes running in one terminal: prefixed logs, restart with back-off, ordered stop.

It forks from the main thread only, because the kernel ties each process to the thread that started it (`tether.py`): a
`kill -9` of the supervisor takes everything along. One thread a process reads its output; nothing else runs in threads.
Costs ten `waitpid` rounds a second.

No part of production: there, systemd, Kubernetes or compose does this.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, TextIO

from standalone import embedded
from standalone.embedded import EmbeddedServer, StandaloneError

TICK_SECONDS = 0.1
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 15.0
SETTLED_SECONDS = 30.0  # up for this long: the next crash starts from the first back-off again
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
LONGEST_LINE_BYTES = 64 * 1024
_PASSING_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.EINTR)  # a full disk has room again one day
SIGNAL_NAMES = {number.value: number.name for number in signal.Signals}


@dataclass(slots=True, frozen=True)
class Program:
    """What to run, and how it is told to end: SIGTERM, then SIGKILL after `grace_seconds`."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    grace_seconds: float = 10.0


class Output:
    """Writes lines of many processes to one stream, each after the name of its process."""

    def __init__(self, stream: TextIO, *, coloured: bool = False, width: int = 9) -> None:
        self._stream = stream
        self._width = width
        self._colours: dict[str, int] = {}
        self._lock = threading.Lock()
        self._is_gone = False
        self._dropped = 0  # since the last line that was written
        self._coloured = coloured

    def line(self, name: str, text: str) -> None:
        label = f"{name:<{self._width}} |"
        with self._lock:
            colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
            if self._coloured:
                label = f"\x1b[{colour}m{label}\x1b[0m"
            if self._is_gone:
                return
            try:
                if self._dropped:
                    self._write(f"{label} ({self._dropped} lines before this one could not be written)")
                    self._dropped = 0
                self._write(f"{label} {text}")
            except OSError as error:
                # The programs go on: an ordered stop matters more than their log.
                self._dropped += 1
                self._is_gone = error.errno not in _PASSING_ERRORS  # else the terminal was closed

    def _write(self, line: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        # What the terminal cannot show must not end the thread that reads a program: the program would block.
        self._stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        self._stream.flush()


@dataclass(slots=True)
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    reader: threading.Thread


@dataclass(slots=True)
class _Backoff:
    """When a crashed thing may start again: 0.5 s, then twice as long each time, at most 15 s."""

    seconds: float = FIRST_BACKOFF_SECONDS
    due_at: float | None = None
    started_at: float = field(default_factory=time.monotonic)

    def crashed(self) -> float:
        """Note a crash; the seconds until the next start."""
        now = time.monotonic()
        if now - self.started_at > SETTLED_SECONDS:
            self.seconds = FIRST_BACKOFF_SECONDS
        wait_seconds = self.seconds
        self.due_at = now + wait_seconds
        self.seconds = min(self.seconds * 2, LONGEST_BACKOFF_SECONDS)
        return wait_seconds

    def is_due(self) -> bool:
        return self.due_at is not None and time.monotonic() >= self.due_at

    def started(self) -> None:
        self.due_at = None
        self.started_at = time.monotonic()


class Supervisor:
    """Owns servers and programs from `adopt` / `start` until `stop`. Use it from the main thread only.

    Stop order: programs whose name starts with the first of `stop_order`, then the second, and so on; the others
    afterwards, newest first; then the servers in the reverse of the order they were adopted.
    """

    def __init__(self, output: Output, stop_order: Sequence[str] = ()) -> None:
        self._output = output
        self._stop_order = stop_order
        self._servers: list[EmbeddedServer] = []
        self._running: dict[str, _Running] = {}
        self._backoffs: dict[str, _Backoff] = {}
        self.crashes: Counter[str] = Counter()  # by name, since the start
        # Plain values, not threading.Event: its lock is not safe to take inside a signal handler.
        self._is_stopping = False
        self._interrupts = 0

    def adopt(self, server: EmbeddedServer) -> None:
        """Watch a server that is running already; restarted on the same port when it crashes."""
        self._servers.append(server)
        self._backoffs[server.name] = _Backoff()

    def start(self, program: Program) -> None:
        """Start a program and watch it from now on."""
        self._backoffs[program.name] = _Backoff()
        self._launch(program)

    @property
    def process_ids(self) -> dict[str, int]:
        """The process id of everything running, by name."""
        servers = {server.name: server.pid for server in self._servers}
        return servers | {name: running.process.pid for name, running in self._running.items()}

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping

    def handle_signals(self) -> None:
        """From now on SIGINT, SIGTERM and SIGHUP end `watch`; a second SIGINT kills what is slow."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Restart what crashes, until a signal asks to stop or `until()`, asked ten times a second, says so."""
        while not self._is_stopping and not until():
            self._restart_crashed()
            time.sleep(TICK_SECONDS)

    def stop(self) -> None:
        """End everything in order and wait for it. Nothing is left running afterwards."""
        self._is_stopping = True
        order = [name for prefix in self._stop_order for name in self._running if name.startswith(prefix)]
        order += [name for name in reversed(self._running) if name not in order]
        for name in order:
            running = self._running.pop(name)
            self._stop_program(running)
        for server in reversed(self._servers):
            self._output.line("relay", f"stopping {server.name}")
            server.stop()
        self._servers.clear()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._is_stopping = True
        if number == signal.SIGINT:
            self._interrupts += 1

    def _launch(self, program: Program) -> None:
        process = embedded.spawn(
            program.command,
            # Not SIGTERM: with the broker and the database gone at the same moment, a graceful end could wait forever.
            death_signal=signal.SIGKILL,
            environment=program.environment,
            stdout=subprocess.PIPE,
            folder=program.folder,
        )
        assert process.stdout is not None
        reader = threading.Thread(target=self._read, args=(program.name, process.stdout), daemon=True)
        reader.start()
        self._running[program.name] = _Running(program, process, reader)
        self._backoffs[program.name].started()

    def _read(self, name: str, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(LONGEST_LINE_BYTES):
                self._output.line(name, line.decode(errors="replace").rstrip())

    def _restart_crashed(self) -> None:
        for server in self._servers:
            self._restart_when_due(server.name, server.is_running(), "its process is gone", server.restart)
        for name, running in list(self._running.items()):
            code = running.process.poll()
            if code is not None and self._backoffs[name].due_at is None:
                _kill_session(running.process)
            self._restart_when_due(name, code is None, _said_of(code), partial(self._launch, running.program))

    def _restart_when_due(self, name: str, is_running: bool, ended: str, restart: Callable[[], None]) -> None:
        backoff = self._backoffs[name]
        if is_running:
            return
        if backoff.due_at is None:
            seconds = backoff.crashed()
            self.crashes[name] += 1
            self._output.line("relay", f"{name} ended ({ended}); starting it again in {seconds:g} s")
        elif backoff.is_due():
            try:
                restart()
            except (StandaloneError, OSError) as error:  # OSError: no process or file can be had at the moment
                seconds = backoff.crashed()
                self._output.line("relay", f"{name} did not start, next try in {seconds:g} s: {error}")
            else:
                backoff.started()

    def _stop_program(self, running: _Running) -> None:
        name, process = running.program.name, running.process
        if process.poll() is None:
            self._output.line("relay", f"stopping {name}")
            process.terminate()
            deadline = time.monotonic() + running.program.grace_seconds
            while process.poll() is None and time.monotonic() < deadline and self._interrupts < 2:
                time.sleep(0.02)
            if process.poll() is None:
                self._output.line("relay", f"{name} did not stop within its grace time: killed")
        _kill_session(process)
        process.wait()
        running.reader.join(timeout=2)


def _said_of(code: int | None) -> str:
    """How a process ended, for the log: `code` as Popen gives it, negative for a signal."""
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"killed by {SIGNAL_NAMES.get(-code, f'signal {-code}')}"


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill what a program left in its session, such as workers of a killed edge: they would keep its port."""
    with contextlib.suppress(ProcessLookupError):  # nothing left, as it should be
        os.killpg(process.pid, signal.SIGKILL)


def run_to_end(command: Sequence[str], environment: Mapping[str, str], folder: Path, output: Output, name: str) -> int:
    """Run a short program with its lines in `output`; its exit code. It ends with this process."""
    process = embedded.spawn(
        command, death_signal=signal.SIGKILL, environment=environment, stdout=subprocess.PIPE, folder=folder
    )
    assert process.stdout is not None
    with process.stdout as stream:
        while line := stream.readline(LONGEST_LINE_BYTES):
            output.line(name, line.decode(errors="replace").rstrip())
    return process.wait()
