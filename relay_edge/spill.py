"""Rows that Postgres could not take, kept in files until it can. Blocking I/O: called in threads.

A file holds rows of one table, one JSON object a line, as the insert takes them: `{table}.{process}.{id}.jsonl`, mode
0600. Who writes a file holds it by `flock`; one that nobody holds may be taken by any process of the machine: closed by
its writer, or left by one that was killed. It is deleted only after its rows are committed, and rows carry their id, so
a file that is read twice is written once. `{table}.{process}.refused` keeps rows that Postgres takes in no form.

The folder has to be on a disk of this machine: `flock` over a network is not to be trusted.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from relay_contract.ids import uuid7
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 8_388_608
"""Then another file is begun, so that an interruption of the way back repeats little."""

_SPILLED = ".jsonl"
_REFUSED = ".refused"
_PRIVATE = 0o600


class SpillFullError(Exception):
    """The files of this process hold as much as they may."""


@dataclass(slots=True)
class _Open:
    file: FileIO
    size_bytes: int


class TakenFile:
    """A file that nobody else writes or reads now. `release` it in any case, `delete` it first when it is committed."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self.table = path.name.split(".", 1)[0]

    def rows(self) -> Iterator[bytes]:
        """Each row. A last line that was cut by a kill was never said to be kept: it is left out and logged."""
        for line in self._file:
            if line.endswith(b"\n"):
                yield line[:-1]
            else:
                logger.warning("spilled_row_cut", extra=log_fields(table=self.table, size_bytes=len(line)))

    def delete(self) -> None:
        """Its rows are committed."""
        self._path.unlink(missing_ok=True)

    def release(self) -> None:
        """Ends the hold."""
        self._file.close()


class Spill:
    """The files of one process, and those that dead ones left. Its methods may be called from several threads."""

    def __init__(self, folder: Path, process_index: int, max_bytes: int) -> None:
        self._folder = folder
        self._process = str(process_index)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}
        self.size_bytes = 0
        """Of this process' files, as of the last look."""
        self.oldest_at: float | None = None
        """Unix time at which the oldest of them was begun, whosever it is; None when there is none."""

    def append(self, table: str, rows: Sequence[bytes]) -> None:
        """Returns when the rows are on the disk. Raises SpillFullError or OSError; then none of them is."""
        data = b"".join([row + b"\n" for row in rows])
        with self._lock:
            if self.size_bytes + len(data) > self._max_bytes:
                raise SpillFullError
            opened = self._open.get(table) or self._begin(table)
            try:
                _write(opened.file, data)
            except OSError:
                self._end(table)
                raise
            opened.size_bytes += len(data)
            self.size_bytes += len(data)
            if opened.size_bytes >= MAX_FILE_BYTES:
                self._end(table)

    def refuse(self, table: str, row: bytes) -> None:
        """Keeps a row that Postgres takes in no form, for people to look at. Raises OSError."""
        with self._lock:
            self._make_folder()
            path = self._folder / f"{table}.{self._process}{_REFUSED}"
            with _private(path) as file:
                _write(file, row + b"\n")
            self.size_bytes += len(row) + 1

    def take(self) -> Iterator[TakenFile]:
        """Ends this process' own files and yields each that nobody holds, oldest first. Raises OSError."""
        self.close()
        for path in sorted(self._paths(), key=_id_of):
            taken = _take(path)
            if taken is not None:
                yield taken

    def close(self) -> None:
        """Ends this process' own files, so that any process may take them. Raises OSError."""
        with self._lock:
            for table in list(self._open):
                self._end(table)

    def look(self) -> bool:
        """Counts what is there; whether a file waits to be taken back. Raises OSError."""
        with self._lock:
            paths = self._paths()
            own = [path for path in self._all_paths() if path.name.split(".")[1:2] == [self._process]]
            self.size_bytes = sum(map(_size_bytes, own))
            self.oldest_at = min((int(_id_of(path)[:12], 16) / 1000 for path in paths), default=None)
            return bool(paths)

    def _begin(self, table: str) -> _Open:
        self._make_folder()
        while True:
            file = _private(self._folder / f"{table}.{self._process}.{uuid7().hex}{_SPILLED}")
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                break
            file.close()  # another process took it, empty as it was, before it was held
        opened = self._open[table] = _Open(file, 0)
        if self.oldest_at is None:
            self.oldest_at = time.time()
        return opened

    def _end(self, table: str) -> None:
        """Cuts what a failed write left behind, so that every line of the file is a row."""
        opened = self._open.pop(table)
        with opened.file as file:
            file.truncate(opened.size_bytes)

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _paths(self) -> list[Path]:
        return [path for path in self._all_paths() if path.suffix == _SPILLED and _is_id(_id_of(path))]

    def _all_paths(self) -> list[Path]:
        return list(self._folder.iterdir()) if self._folder.exists() else []


def _write(file: FileIO, data: bytes) -> None:
    """All of it, onto the disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _private(path: Path) -> FileIO:
    """Opened to append, unbuffered, for this user alone. Never through a link that somebody else put there."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return FileIO(os.open(path, flags, _PRIVATE), "r+")


def _take(path: Path) -> TakenFile | None:
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb")
    except FileNotFoundError:
        return None  # another process was first
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None  # it is being written or read
    if os.fstat(file.fileno()).st_nlink == 0:
        file.close()
        return None  # deleted between the two
    return TakenFile(path, file)


def _id_of(path: Path) -> str:
    return path.name.split(".")[-2] if path.name.count(".") == 3 else ""


def _is_id(text: str) -> bool:
    return len(text) == 32 and text.isalnum() and all(digit in "0123456789abcdef" for digit in text)


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
