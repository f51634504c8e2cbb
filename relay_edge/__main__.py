"""`python -m relay_edge`: the edge, N processes on one port.

The parent reads the settings, holds the port and forks the processes before any event loop exists; it serves nothing.
A process that ends is started again, at once after a long life and with growing pauses after a short one. SIGTERM and
SIGINT end all in good order; a parent that is killed takes its processes along (Linux).

Exit status: 0 ended as asked, 2 cannot start as configured.
"""

import asyncio
import ctypes
import errno
import gc
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

import uvloop

from relay_contract import logs
from relay_contract.env import ConfigurationError
from relay_edge.app import Edge
from relay_edge.settings import EdgeSettings
from relay_edge.supervisor import Supervisor

PR_SET_PDEATHSIG = 1  # linux/prctl.h
EXIT_CONFIGURATION = 2
PROCESS_NAME = "edge"


class PortTaken(Exception):
    """The port cannot be listened on; the text says what to do."""


def hold_port(bind: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """Binds the port without listening, so that nobody else gets it while the processes come and go.

    Raises PortTaken. With SO_REUSEPORT alone a second edge on the same port would start, and take half of the calls:
    where that is not wanted (`is_shared`), the port is looked at first.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if not is_shared:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        holder = socket.socket(family, kind, protocol)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"Port {port} on {bind} is in use. Stop what listens there, or set RELAY_PORT to another."
        elif error.errno == errno.EACCES:
            reason = f"Port {port} needs more rights than this user has. Set RELAY_PORT to one above 1023."
        else:
            reason = f"Cannot listen on {bind}: {error.strerror}. Set RELAY_BIND to an address of this machine."
        raise PortTaken(reason) from error
    return holder


def die_with(parent_pid: int) -> None:
    """Asks the kernel for a SIGTERM when the parent is gone; does nothing where it is no Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent_pid:  # gone before the kernel knew
            sys.exit(1)


async def serve(settings: EdgeSettings, process_index: int, metrics_folder: Path, log: logs.LogStream) -> None:
    """One process' work, until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Edge(settings, process_index, metrics_folder, log).run(stop)


def run_process(settings: EdgeSettings, process_index: int, metrics_folder: Path) -> None:
    """The life of one process, after the fork."""
    log = logs.configure(settings.log_level, PROCESS_NAME)
    gc.set_threshold(20_000, 20, 50)  # a call leaves no cycles behind, so searching for them often finds none
    gc.freeze()  # what was imported is there to stay, and shared with the other processes as long as nobody touches it
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, process_index, metrics_folder, log))


def allow_many_connections() -> None:
    """Raises the soft limit of open files to the hard one: each call takes two."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    """The parent; returns the exit status."""
    try:
        settings = EdgeSettings.read(os.environ)
        holder = hold_port(settings.bind, settings.port, is_shared=settings.shares_port)
    except (ConfigurationError, PortTaken) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    logs.configure(settings.log_level, PROCESS_NAME)
    allow_many_connections()
    metrics_folder = Path(tempfile.mkdtemp(prefix="relay-edge-"))
    try:
        with holder:
            Supervisor(
                settings.processes,
                lambda process_index: run_process(settings, process_index, metrics_folder),
                in_child=die_with,
                kill_after_seconds=settings.shutdown_seconds + 15,
            ).run()
    finally:
        shutil.rmtree(metrics_folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
