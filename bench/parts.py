"""The bench's own processes: load generator, fake vendor, sink, bare proxy. Each ends with its `with` block."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.load import READY, Outcome, Plan

ROOT = Path(__file__).resolve().parent.parent
TETHER = ROOT / "standalone" / "tether.py"
LATE = ("Cost limits cannot be counted at the moment", "What calls may spend cannot be looked up at the moment")
"""How the product's 503s begin where money cannot be counted, as when Redis does not answer in time. On a host that
takes CPUs away for tens of milliseconds (`pauses.py`) that happens now and then."""
MOST_LATE = 0.02
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0


class BenchError(Exception):
    """A measurement cannot be taken or cannot be trusted; the text says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """A running server of the bench."""

    name: str
    pid: int
    url: str


def tethered(*module: str) -> list[str]:
    """The command of `python -m ...`, ended by the kernel (SIGTERM) when this process is killed. Main thread only."""
    tie = [sys.executable, "-I", "-S", str(TETHER), str(int(signal.SIGTERM)), str(os.getpid()), "-"]
    return [*tie, sys.executable, "-m", *module]


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now; found together, so that they differ."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


@contextmanager
def server(name: str, *arguments: str) -> Iterator[Part]:
    """`python -m bench.{name}` on a free port, ready when the block begins. BenchError when it does not start."""
    (port,) = free_ports(1)
    command = tethered(f"bench.{name}", "--port", str(port), *arguments)
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        wait_until_listening(port, process, name)
        yield Part(name, process.pid, f"http://127.0.0.1:{port}")
    finally:
        end(process)


def wait_until_listening(port: int, process: subprocess.Popen[bytes], name: str) -> None:
    """Return when `process` takes connections. BenchError when it ended or does not in time."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise BenchError(f"{name} did not start on port {port}; its own message, if any, is above.")


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL to one that does not end. Only ever a process that the bench started."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def say(text: str) -> None:
    """To whoever watches a run."""
    print(f"bench | {text}", flush=True)


def fetch(url: str) -> Any:
    """The JSON behind a GET."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


class Load:
    """One run of the load generator in a process of its own."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._process = subprocess.Popen(
            tethered("bench.load"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pid = self._process.pid

    def run(self) -> Outcome:
        """Send the plan and wait for its outcome. BenchError when an answer was wrong or missing. A few may have been
        refused because money could not be counted in time: those stay in `failures`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(self._plan)).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("The load generator ended without an outcome; its own message is above.")
        outcome = Outcome(**json.loads(line))
        late = sum(count for text, count in outcome.failures.items() if any(begin in text for begin in LATE))
        if late:
            say(f"{late:,} of {self._plan.count:,} calls were refused, since money could not be counted in time")
        # Whatever was not answered as expected was such a refusal, and nothing failed besides.
        if not sum(outcome.failures.values()) == outcome.unfinished == late <= MOST_LATE * self._plan.count:
            raise BenchError(
                f"{self._plan.url}: {outcome.completed} of {self._plan.count} calls were answered as expected; "
                f"failures: {outcome.failures}"
            )
        return outcome

    def release(self) -> int:
        """Let go of held streams; how many the other side had cut by then."""
        said, _ = self._process.communicate(timeout=_STOP_SECONDS)
        return int(said)

    def __enter__(self) -> "Load":
        assert self._process.stdout is not None
        if self._process.stdout.readline().decode().strip() != READY:
            raise BenchError("The load generator does not start; its own message is above.")
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
