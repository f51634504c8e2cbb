"""What our part of a database holds: tables, columns, partitions, sequences."""

from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from relay_admin.backup.archive import Sum

Database: TypeAlias = psycopg.Connection[tuple[Any, ...]]

# Rows of partitions are their table's.
_TABLES = """
SELECT relname::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname
"""
_ANY = (
    "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S', 'v')"
)
_COLUMNS = """
SELECT relname::text, array_agg(attname::text ORDER BY attnum)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
WHERE relname = ANY (%s) AND relnamespace = 'public'::regnamespace GROUP BY relname
"""
_PARTITIONS = """
SELECT parent.relname::text, right(child.relname, 8) FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid JOIN pg_class AS parent ON parent.oid = inhparent
WHERE child.relname ~ '_[0-9]{8}$' AND child.relkind = 'r' ORDER BY 1, 2
"""
_SEQUENCES = "SELECT sequencename::text, last_value FROM pg_sequences WHERE schemaname = 'public' AND last_value > 0"
# Whose references are looked at with each statement: they come after what they refer to.
_AT_ONCE = """
SELECT DISTINCT relname::text FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
WHERE contype = 'f' AND NOT condeferred AND relnamespace = 'public'::regnamespace
"""


def names(database: Database) -> list[str]:
    """Tables, those last whose references are looked at with each statement."""
    late = {name for (name,) in database.execute(_AT_ONCE)}
    return sorted((name for (name,) in database.execute(_TABLES)), key=lambda name: (name in late, name))


def anything(database: Database) -> list[str]:
    """Everything that is in the schema already."""
    return [name for (name,) in database.execute(_ANY)]


def columns(database: Database, tables: list[str]) -> dict[str, list[str]]:
    """Of each table, those that are stored."""
    return dict(database.execute(_COLUMNS, [tables]).fetchall())


def partitions(database: Database) -> list[list[str]]:
    """Table and day of each daily partition."""
    return [list(row) for row in database.execute(_PARTITIONS)]


def sequences(database: Database) -> dict[str, int]:
    """The last number that each gave."""
    return dict(database.execute(_SEQUENCES).fetchall())


def copy_out(table: str, of_columns: list[str]) -> sql.Composed:
    """Also of a partitioned table, with all its partitions."""
    listed = sql.SQL(", ").join(map(sql.Identifier, of_columns))
    return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(listed, sql.Identifier(table))


def copy_in(table: str, of_columns: list[str]) -> sql.Composed:
    """Takes what `copy_out` gave."""
    listed = sql.SQL(", ").join(map(sql.Identifier, of_columns))
    return sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), listed)


def sum_of(database: Database, table: str, of_columns: list[str]) -> Sum:
    """Reads the whole table."""
    result = Sum()
    with database.cursor() as cursor, cursor.copy(copy_out(table, of_columns)) as copy:
        for row in copy:  # libpq hands out a row at a time
            result.add(bytes(row))
    return result


def steady(database: Database) -> None:
    """Lets values have one spelling, whatever roles and databases are set to."""
    database.execute("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'")
    database.execute("SET extra_float_digits = 1; SET bytea_output = 'hex'; SET client_encoding = 'UTF8'")
    database.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
