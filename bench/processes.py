"""CPU and memory of processes, read from /proc. Linux only; `require_linux` says so in a sentence.

CPU is user plus system time of a process, its threads and the children it has waited for, so the sum over a tree counts
a child that ended in between as well (Postgres backends come and go). The kernel rounds it to 10 ms.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class NotLinuxError(Exception):
    """CPU and memory of other processes are read from /proc, which this system does not have."""

    def __init__(self) -> None:
        super().__init__(
            f"The bench reads CPU and memory from /proc, which {sys.platform} does not have. Run it on Linux."
        )


def require_linux() -> None:
    """NotLinuxError where there is no /proc of Linux."""
    if sys.platform != "linux" or not (_PROC / "self" / "smaps_rollup").exists():
        raise NotLinuxError


@dataclass(frozen=True, slots=True)
class Process:
    """A line of the process table; `command` is the command line with spaces."""

    pid: int
    parent: int
    command: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in bytes: resident now, resident at most since it started, and not shared with any other."""

    resident_bytes: int
    peak_bytes: int
    private_bytes: int


def descendants(pid: int) -> list[Process]:
    """Every live process below `pid`, parents before children; not `pid` itself."""
    everything = _table()
    found: list[Process] = []
    parents = {pid}
    while parents:
        children = [process for process in everything if process.parent in parents]
        found += children
        parents = {process.pid for process in children}
    return found


def tree(pid: int) -> list[int]:
    """The ids of `pid` and everything below it."""
    return [pid, *(process.pid for process in descendants(pid))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU seconds so far of these processes and the children they waited for. A process that is gone counts 0."""
    return sum(map(_cpu_ticks, pids)) / _TICKS_PER_SECOND


def memory(pid: int) -> Memory:
    """Memory of one process. FileNotFoundError or ProcessLookupError when it is gone."""
    status = _fields((_PROC / str(pid) / "status").read_text())
    rollup = _fields((_PROC / str(pid) / "smaps_rollup").read_text())
    return Memory(
        resident_bytes=status["VmRSS"],
        peak_bytes=status["VmHWM"],
        private_bytes=rollup["Private_Clean"] + rollup["Private_Dirty"],
    )


def pin(pids: Iterable[int], cpus: Iterable[int]) -> None:
    """Keep every thread of these processes on these CPUs; threads and children they start later inherit it."""
    wanted = set(cpus)
    for pid in pids:
        for thread in _names(_PROC / str(pid) / "task"):
            try:
                os.sched_setaffinity(int(thread), wanted)
            except ProcessLookupError:
                continue  # it ended while we looked


def _table() -> list[Process]:
    found = []
    for name in _names(_PROC):
        if not name.isdigit():
            continue
        try:
            parent = int(_stat(int(name))[1])
            command = (_PROC / name / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        found.append(Process(int(name), parent, command))
    return found


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may itself hold spaces and brackets; `state` is first."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _cpu_ticks(pid: int) -> int:
    try:
        return sum(map(int, _stat(pid)[11:15]))  # utime, stime, cutime, cstime: fields 14 to 17 of proc(5)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _fields(text: str) -> Mapping[str, int]:
    """`Name:   12 kB` lines as bytes."""
    fields = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            fields[name] = int(value.split()[0]) * 1024
    return fields
