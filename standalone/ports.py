"""Finds out, before anything starts, whether the product's ports are free, and who has the ones that are not."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path

from standalone.embedded import LOOPBACK, StandaloneError, command_line

LISTENING = "0A"  # state column of /proc/net/tcp


def require_free(ports: dict[str, int]) -> None:
    """`ports` by the variable that sets each. Raises StandaloneError naming every busy one and what to change."""
    problems = [
        f"Port {port} is in use by {holder(port)}. Stop it, or choose another: {variable}={_another(port)} make run"
        for variable, port in ports.items()
        if not _is_free(port)
    ]
    numbers = list(ports.values())
    problems += [
        f"{variable} is {port}, and so is another port of the relay: give each its own."
        for variable, port in ports.items()
        if numbers.count(port) > 1
    ]
    if problems:
        raise StandaloneError("\n".join(problems))


def _another(port: int) -> int:
    """A port to suggest; nobody has looked whether it is free."""
    return port + 100 if port + 100 < 65_536 else port - 100


def holder(port: int) -> str:
    """Who listens on a TCP port, as far as this user may see it (Linux: from /proc)."""
    inodes = _listening_inodes(port)
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):  # another user's process, or one that ended meanwhile
            for link in folder.iterdir():
                if (match := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))) and match[1] in inodes:
                    pid = int(folder.parent.name)
                    return f"process {pid} ({command_line(pid).strip()[:80]})"
    return "another program (perhaps a relay that is already running)"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections still closing are no obstacle
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError:
            raise StandaloneError(f"Port {port} may not be used by this user: choose one above 1023.") from None
        except OSError:
            return False
    return True


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):  # no /proc, or IPv6 is off
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == LISTENING and int(columns[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(columns[9])
    return inodes
