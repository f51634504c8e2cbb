"""Writes a back-up: every row of one moment, while the product goes on."""

import json
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from psycopg import IsolationLevel, sql

from relay_admin.backup import archive, tables
from relay_admin.backup.archive import BackupError, Manifest, Sum
from relay_admin.backup.tables import Database
from relay_admin.health import migrations_applied, migrations_of_this_release


def backup(database: Database, path: Path) -> Manifest:
    """Under another name until it is whole. `database`: with autocommit. Raises BackupError, OSError, psycopg.Error.

    Holds a snapshot and the weakest lock of every table meanwhile, so no partition is dropped and nobody waits.
    """
    if path.exists():
        raise BackupError(f"{path} is there already: name another file.")
    if migrations_applied(database) != migrations_of_this_release():
        raise BackupError("The database has other migrations than this release: use the release that it belongs to.")
    tables.steady(database)
    names = tables.names(database)
    draft = path.with_name(f"{path.name}.part")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=archive.COMPRESSION_LEVEL) as made:
                manifest = _write(database, names, made)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def _write(database: Database, names: list[str], made: zipfile.ZipFile) -> Manifest:
    database.isolation_level, database.read_only = IsolationLevel.REPEATABLE_READ, True
    with database.transaction():
        # Before the first query, which is the moment of all that follows.
        locked = sql.SQL(", ").join(map(sql.Identifier, names))
        database.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(locked))
        if tables.names(database) != names:
            raise BackupError("The database was migrated at this moment: try again.")
        columns = tables.columns(database, names)
        manifest = Manifest(
            made_at=datetime.now(UTC).isoformat(),
            postgres=database.info.server_version,
            migrations=sorted(map(list, migrations_applied(database))),
            partitions=tables.partitions(database),
            sums={name: _table(database, made, name, columns[name]) for name in names},
            columns=columns,
            sequences=tables.sequences(database),  # last: they know of no snapshot, and no row may be above them
        )
    made.writestr(archive.MANIFEST, json.dumps(manifest.document(), indent=1))
    return manifest


def _table(database: Database, made: zipfile.ZipFile, name: str, columns: list[str]) -> Sum:
    result = Sum()
    with (
        made.open(archive.member(name), "w", force_zip64=True) as member,
        database.cursor() as cursor,
        cursor.copy(tables.copy_out(name, columns)) as copy,
    ):
        for row in copy:
            line = bytes(row)
            result.add(line)
            member.write(line)
    return result
