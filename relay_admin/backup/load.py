"""Fills an empty database from a back-up: all of it, compared with what was backed up, or nothing."""

from datetime import datetime

from psycopg import sql

from relay_admin.backup import tables
from relay_admin.backup.archive import Archive, BackupError, Manifest
from relay_admin.backup.tables import Database
from relay_admin.deliveries import storage
from relay_admin.health import migrations_of_this_release


def refuse_unfit(database: Database, manifest: Manifest) -> None:
    """Raises BackupError for a database with anything in it, and a back-up of another release."""
    if found := tables.anything(database):
        raise BackupError(f"The database is not empty ({found[0]}): restore into a new one, and keep this as it is.")
    theirs = {(app, name) for app, name in manifest.migrations}
    if theirs != migrations_of_this_release():
        other = min(theirs ^ migrations_of_this_release())
        raise BackupError(
            f"The back-up is of another release ({'.'.join(other)} is in one of them alone): restore it with that"
            " release, then upgrade."
        )


def load(database: Database, archive: Archive) -> None:
    """Into a database that was just migrated, whose rows of migrations give way. Raises BackupError, psycopg.Error.

    One transaction. Triggers rest meanwhile: what they wrote is in the back-up. References are looked at in the end.
    """
    manifest = archive.manifest
    tables.steady(database)
    with database.transaction():
        for table, day in manifest.partitions:
            database.execute(storage.create_statement(table, datetime.strptime(day, "%Y%m%d").date()))  # noqa: DTZ007 (a day)
        names = tables.names(database)
        columns = tables.columns(database, names)
        if columns != manifest.columns:
            raise BackupError(
                "This release makes other tables than the back-up has, though its migrations are the same."
            )
        every = names + [f"{table}_{day}" for table, day in tables.partitions(database)]
        _switch(database, every, "DISABLE")
        database.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, names))))
        for name in names:
            _table(database, archive, name)
        for name, last in manifest.sequences.items():
            database.execute("SELECT setval(%s::regclass, %s)", [f"public.{name}", last])
        database.execute("SET CONSTRAINTS ALL IMMEDIATE")
        _switch(database, every, "ENABLE")
        _compare(database, manifest)
    database.execute("ANALYZE")


def _switch(database: Database, every: list[str], state: str) -> None:
    for name in every:
        database.execute(sql.SQL("ALTER TABLE {} {} TRIGGER USER").format(sql.Identifier(name), sql.SQL(state)))


def _table(database: Database, archive: Archive, name: str) -> None:
    statement = tables.copy_in(name, archive.manifest.columns[name])
    with database.cursor() as cursor, cursor.copy(statement) as copy:
        for piece in archive.text(name):
            copy.write(piece)


def _compare(database: Database, manifest: Manifest) -> None:
    for name, wanted in manifest.sums.items():
        found = tables.sum_of(database, name, manifest.columns[name])
        if found != wanted:
            raise BackupError(f"{name}: {found.rows} rows came back of {wanted.rows}, or not the same ones.")
