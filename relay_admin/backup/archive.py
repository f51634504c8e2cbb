"""The file: a ZIP with a member of COPY text for each table, and at its end `manifest.json`.

The text is that of `COPY ... TO STDOUT`, which every Postgres reads. ZIP has a checksum for each member; against
somebody who changes a back-up on purpose only its keeper helps.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK_BYTES = 262_144
COMPRESSION_LEVEL = 3


class BackupError(Exception):
    """What cannot be written, read or restored. The text is for the operator and says what to do."""


@dataclass(slots=True)
class Sum:
    """Rows of a table, and their fingerprint: the same in whatever order they come."""

    rows: int = 0
    fingerprint: int = 0

    def add(self, row: bytes) -> None:
        """A line of COPY text."""
        self.rows += 1
        self.fingerprint = (self.fingerprint + int.from_bytes(blake2b(row, digest_size=8).digest())) % 2**64


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a back-up says of itself."""

    made_at: str  # ISO 8601
    postgres: int  # as libpq numbers versions
    migrations: list[list[str]]  # app and name
    partitions: list[list[str]]  # table and day, YYYYMMDD
    sequences: dict[str, int]  # by name, the last number given; without those that gave none
    columns: dict[str, list[str]]  # of each table, in the order of its text
    sums: dict[str, Sum]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Manifest":
        """Raises BackupError."""
        if document.get("format") != FORMAT:
            raise BackupError(f"This file has the format {document.get('format')!r}, this release reads {FORMAT}.")
        try:
            fields = {name: document[name] for name in cls.__dataclass_fields__}
            return cls(**fields | {"sums": {table: Sum(**each) for table, each in document["sums"].items()}})
        except (KeyError, TypeError, AttributeError) as error:
            raise BackupError("The manifest of this back-up is not whole.") from error


class Archive:
    """A back-up to read."""

    def __init__(self, path: Path) -> None:
        """Raises BackupError for what is no back-up, or one that was cut short."""
        try:
            self._zip = zipfile.ZipFile(path)
            self.manifest = Manifest.read(json.loads(self._zip.read(MANIFEST)))
        except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
            raise BackupError(f"{path} is no back-up, or was cut short ({type(error).__name__}).") from error

    def text(self, table: str) -> Iterator[bytes]:
        """The table's COPY text in pieces. Raises BackupError where it is damaged."""
        try:
            with self._zip.open(member(table)) as file:
                while piece := file.read(CHUNK_BYTES):
                    yield piece
        except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
            raise BackupError(f"The back-up's {table} is damaged ({type(error).__name__}).") from error

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


def member(table: str) -> str:
    """Its name in the archive."""
    return f"tables/{table}.copy"
