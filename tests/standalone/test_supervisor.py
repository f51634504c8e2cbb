"""The supervisor, run as a process of its own with real programs below it."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from standalone.supervisor import Output
from tests.standalone.waiting import descendants, is_alive, wait_for

ROOT = Path(__file__).resolve().parent.parent.parent

# A program that says when it starts and when it is told to stop. "deaf" does not listen; "parent" has a child that does
# not listen either.
CHILD = """
import os, signal, subprocess, sys, time
name = sys.argv[1]
def stop(number, frame):
    print("got SIGTERM", flush=True)
    if not name.startswith("deaf"):
        sys.exit(0)
signal.signal(signal.SIGTERM, stop)
if name.startswith("parent"):
    subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
print("up", os.getpid(), flush=True)
if name.startswith("crash"):
    sys.exit(3)
while True:
    time.sleep(0.05)
"""

SUPERVISOR = """
import os, pathlib, sys
from standalone import postgres, valkey
from standalone.supervisor import Output, Program, Supervisor
home, child, *names = sys.argv[1:]
watcher = Supervisor(Output(sys.stdout), stop_order=("first", "second"))
watcher.handle_signals()
if home != "-":
    watcher.adopt(postgres.start(pathlib.Path(home), fast=True))
    watcher.adopt(valkey.start(pathlib.Path(home), fast=True))
for name in names:
    watcher.start(Program(name, [sys.executable, child, name], os.environ, pathlib.Path("/"), grace_seconds=0.5))
print("ids", watcher.process_ids, flush=True)
watcher.watch()
watcher.stop()
print("stopped", flush=True)
"""


class Supervised:
    """A supervisor process, its output in a file."""

    def __init__(self, folder: Path, *names: str, home: Path | None = None) -> None:
        self.log = folder / "log"
        child = folder / "child.py"
        child.write_text(CHILD)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISOR, str(home or "-"), str(child), *names],
                cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        wait_for(lambda: "ids" in self.text and all(self.pid(name) for name in names), f"start; {self.text}")

    @property
    def text(self) -> str:
        return self.log.read_text()

    def pid(self, name: str) -> int:
        """The newest process id that a program said; 0 before."""
        said = re.findall(rf"^{name} +\| up (\d+)$", self.text, re.MULTILINE)
        return int(said[-1]) if said else 0

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(20)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[type[Supervised]]:
    """`Supervised`, with the guarantee that nothing of it outlives the test."""
    made: list[Supervised] = []

    class Kept(Supervised):
        def __init__(self, *names: str, home: Path | None = None) -> None:
            made.append(self)
            super().__init__(tmp_path, *names, home=home)

    yield Kept
    for one in made:
        one.process.kill()
        one.process.wait()


def test_lines_carry_the_name_of_their_process(supervised: type[Supervised]) -> None:
    running = supervised("one", "two")
    assert f"one       | up {running.pid('one')}\n" in running.text
    assert f"two       | up {running.pid('two')}\n" in running.text
    assert "\x1b" not in running.text  # a file is no terminal
    running.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_in_order(supervised: type[Supervised], number: signal.Signals) -> None:
    running = supervised("other", "second", "first2", "first1")
    pids = descendants(running.process.pid)
    assert len(pids) == 4
    running.stop(number)
    assert running.process.returncode == 0
    assert re.findall(r"stopping (\w+)", running.text) == ["first2", "first1", "second", "other"]
    assert running.text.endswith("stopped\n")
    assert not any(is_alive(pid) for pid in pids)


def test_a_killed_program_starts_again_and_a_crashing_one_backs_off(supervised: type[Supervised]) -> None:
    running = supervised("steady", "crashing")
    first = running.pid("steady")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: running.pid("steady") not in {0, first}, "the second start")
    assert "steady ended (killed by SIGKILL); starting it again in 0.5 s" in running.text
    wait_for(lambda: "in 2 s" in running.text, "three crashes")
    waits = re.findall(r"crashing ended \(exit code 3\); starting it again in ([\d.]+) s", running.text)
    assert waits == ["0.5", "1", "2"]
    running.stop()


def test_what_does_not_listen_is_killed_after_its_grace_time(supervised: type[Supervised]) -> None:
    running = supervised("deaf")
    pid = running.pid("deaf")
    running.stop()
    assert "deaf      | got SIGTERM\n" in running.text
    assert "deaf did not stop within its grace time: killed" in running.text
    assert not is_alive(pid)


def test_what_a_program_started_itself_goes_with_it(supervised: type[Supervised]) -> None:
    running = supervised("parent")
    wait_for(lambda: len(descendants(running.process.pid)) == 2, "the grandchild")
    pids = descendants(running.process.pid)
    running.stop()
    wait_for(lambda: not any(is_alive(pid) for pid in pids), "parent and child to be gone")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_a_killed_supervisor_leaves_nothing_behind(supervised: type[Supervised], reachable_home: Path) -> None:
    running = supervised("one", "deaf", home=reachable_home)
    wait_for(lambda: len(descendants(running.process.pid)) >= 4, "all to run")
    pids = descendants(running.process.pid)
    assert {running.pid("one"), running.pid("deaf")} < pids
    running.process.kill()
    running.process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in pids), "everything to end with the supervisor")


def test_a_killed_server_starts_again_and_stops_last(supervised: type[Supervised], reachable_home: Path) -> None:
    running = supervised("one", home=reachable_home)
    said = re.search(r"'valkey': (\d+)", running.text)
    assert said is not None
    os.kill(int(said[1]), signal.SIGKILL)
    wait_for(lambda: "valkey ended" in running.text, "the crash to be seen")
    port = (reachable_home / "valkey-port").read_text()
    wait_for(
        lambda: any(
            b"valkey-server" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(running.process.pid)
        ),
        "the new valkey",
    )
    assert (reachable_home / "valkey-port").read_text() == port
    running.stop()
    assert re.findall(r"stopping (\w+)", running.text) == ["one", "valkey", "postgres"]


class FullDisk(io.StringIO):
    """A stream that refuses so many writes."""

    encoding = "ascii"

    def __init__(self, refusals: int, number: int) -> None:
        super().__init__()
        self.refusals, self.number = refusals, number

    def write(self, text: str) -> int:
        if self.refusals:
            self.refusals -= 1
            raise OSError(self.number, "refused")
        return super().write(text)


def test_a_full_disk_costs_lines_and_says_how_many() -> None:
    stream = FullDisk(2, errno.ENOSPC)
    output = Output(stream, width=1)
    for text in ("one", "two", "three", "four"):
        output.line("a", text)
    assert stream.getvalue() == "a | (2 lines before this one could not be written)\na | three\na | four\n"


def test_a_closed_terminal_is_not_written_to_again() -> None:
    stream = FullDisk(1, errno.EIO)
    output = Output(stream, width=1)
    output.line("a", "one")
    output.line("a", "two")
    assert stream.getvalue() == ""


def test_what_a_terminal_cannot_show_ends_nothing() -> None:
    stream = FullDisk(0, 0)
    Output(stream, width=1).line("a", "na\u00efve \udcff")
    assert stream.getvalue() == "a | na?ve ?\n"
