"""Catalog rows out of Postgres, as nouns.

A full load is one REPEATABLE READ transaction over a server-side cursor, in portions small enough that requests are
served between them. A row that this version cannot read (say, an enum member of a newer one) is left out, counted and
logged: one strange row must not stop an edge.
"""

import asyncio
import gc
import logging
import types
import typing
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncServerCursor, sql

from relay_contract.logs import log_fields
from relay_contract.nouns import (
    HELD_WHERE,
    NOUNS,
    AuthConfig,
    Budget,
    Capabilities,
    Conditions,
    Fallback,
    Headers,
    JsonDocument,
    Noun,
    Rule,
    SignatureConfig,
    auth_config_from_json,
    budget_from_json,
    capabilities_from_json,
    columns,
    conditions_from_json,
    fallbacks_from_json,
    headers_from_json,
    json_document_from_json,
    rules_from_json,
    signature_config_from_json,
)
from relay_contract.pricing import Rate, rates_from_json
from relay_edge.catalog.snapshot import Changes, Snapshot, SnapshotBuilder

logger = logging.getLogger(__name__)

Converter = Callable[[Any], Any]
BadRow = Callable[[type[Noun], int, Exception], None]

PORTION_ROWS = 250
"""About 3 ms of conversion: how long a request may wait behind a load."""

MAX_LOGGED_BAD_ROWS = 20

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


_FROM_JSON: dict[Any, Converter] = {
    Rule: rules_from_json,
    Fallback: fallbacks_from_json,
    Rate: rates_from_json,
    Capabilities: capabilities_from_json,
    JsonDocument: json_document_from_json,
    Conditions: conditions_from_json,
    Headers: headers_from_json,
    SignatureConfig: signature_config_from_json,
    AuthConfig: auth_config_from_json,
    Budget: budget_from_json,
    bytes: bytes,
}
"""Types with a reader of their own: a noun's field of the type, or a tuple of it."""


def _same(value: Any) -> Any:
    return value


def _converter(hint: Any) -> Converter:
    """What makes a noun's field of a column's value, by the field's type. TypeError for a type that no column has."""
    hint = getattr(hint, "__supertype__", hint)  # a NewType
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (inner,) = (member for member in typing.get_args(hint) if member is not types.NoneType)
        convert = _converter(inner)
        return lambda value: None if value is None else convert(value)
    if typing.get_origin(hint) is tuple:
        member = typing.get_args(hint)[0]
        if member in _FROM_JSON:
            return _FROM_JSON[member]
        convert = _converter(member)
        return lambda value: tuple(map(convert, value))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if hint in _FROM_JSON:
        return _FROM_JSON[hint]
    if isinstance(hint, type):
        return _same
    raise TypeError(f"no converter for {hint!r}")


class NounReader:
    """One noun's SELECT, and its rows as nouns."""

    def __init__(self, noun: type[Noun]) -> None:
        self.noun = noun
        hints = typing.get_type_hints(noun)
        self._converters = tuple(_converter(hints[name]) for name in columns(noun))
        held = HELD_WHERE.get(noun)
        self.select_all = sql.SQL("SELECT {} FROM {} WHERE {}").format(
            sql.SQL(", ").join(map(sql.Identifier, columns(noun))),
            sql.Identifier(noun.table),
            sql.SQL("true") if held is None else sql.Identifier(held),
        )
        self.select_some = self.select_all + sql.SQL(" AND id = ANY(%s)")

    def nouns(self, rows: Iterable[Sequence[Any]], on_bad_row: BadRow) -> list[Noun]:
        """The rows that can be read; the others go to `on_bad_row`."""
        found: list[Noun] = []
        for row in rows:
            try:
                values = [convert(value) for convert, value in zip(self._converters, row, strict=True)]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                on_bad_row(self.noun, row[0], error)
            else:
                found.append(self.noun(*values))
        return found


READERS: dict[type[Noun], NounReader] = {noun: NounReader(noun) for noun in NOUNS}


class BadRows:
    """Counts and logs what could not be read; of many in one load, the first few are logged."""

    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count
        self._logged = 0

    def __call__(self, noun: type[Noun], row_id: int, error: Exception) -> None:
        self._count()
        if self._logged < MAX_LOGGED_BAD_ROWS:
            self._logged += 1
            # The value stays out: a column may hold a secret one day.
            fields = log_fields(table=noun.table, row_id=row_id, error=type(error).__name__)
            logger.error("catalog_row_unreadable", extra=fields)


async def load_all(connection: AsyncConnection[Any], version: int, on_bad_row: BadRow) -> Snapshot:
    """The whole catalog as of one moment. `connection` is in autocommit and nobody else uses it meanwhile.

    Raises psycopg.Error. 100,000 relay keys take about a second of this process' time.
    """
    builder = SnapshotBuilder()
    # Nothing of a snapshot is a cycle: searching 100,000 young rows for garbage again and again finds none.
    gc.disable()
    try:
        await connection.execute(BEGIN)
        try:
            for reader in READERS.values():
                async with _portions(connection) as cursor:
                    await cursor.execute(reader.select_all)
                    while rows := await cursor.fetchmany(PORTION_ROWS):
                        builder.add(reader.nouns(rows, on_bad_row))
                        await asyncio.sleep(0)
        finally:
            await connection.execute("ROLLBACK")  # it only read
        snapshot = builder.finish(version)
        gc.freeze()
    finally:
        gc.enable()
    return snapshot


@asynccontextmanager
async def _portions(connection: AsyncConnection[Any]) -> AsyncGenerator[AsyncServerCursor[Any]]:
    """A cursor that is closed also where its connection was lost, or the load is called off while it is: the connection
    is closed then, and whoever goes on with it is told."""
    cursor = connection.cursor("catalog_load", binary=True)
    try:
        yield cursor
    finally:
        try:
            await cursor.close()
        except (psycopg.Error, asyncio.CancelledError) as error:
            await connection.close()
            await cursor.close()
            if isinstance(error, asyncio.CancelledError):
                raise


async def load_some(
    connection: AsyncConnection[Any], ids: Mapping[type[Noun], set[int]], on_bad_row: BadRow
) -> Changes:
    """These rows as of one moment; None for those that are gone or unreadable. Raises psycopg.Error."""
    if len(ids) == 1:
        ((noun, wanted),) = ids.items()
        return {noun: await _read(connection, noun, wanted, on_bad_row)}
    await connection.execute(BEGIN)
    try:
        return {noun: await _read(connection, noun, wanted, on_bad_row) for noun, wanted in ids.items()}
    finally:
        await connection.execute("ROLLBACK")


async def _read(
    connection: AsyncConnection[Any], noun: type[Noun], ids: set[int], on_bad_row: BadRow
) -> dict[int, Noun | None]:
    reader = READERS[noun]
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(reader.select_some, [list(ids)])
        rows = await cursor.fetchall()
    found: dict[int, Noun | None] = dict.fromkeys(ids)
    found.update((row.id, row) for row in reader.nouns(rows, on_bad_row))
    return found
