"""Who changes something: told to Postgres, whose triggers write it into the audit log (`audit_triggers.py`).

It travels with the connection: `relay.actor` is set before a writing statement, and cleared when whoever acts is done,
since connections are pooled. Costs two short statements for what writes, and nothing for what only reads. Imports no
model: `manage.py` needs it before Django is set up.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db import DatabaseError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

_TELL = "SELECT set_config('relay.actor', %s, false)"
# A WITH may write, so it is told of too: 0.2 ms for a page that reads by one. That a session was seen is no change of
# anybody's, and is written while it is being asked who it is.
_WRITES_NOTHING = re.compile(
    r"\s*(?:SELECT|SET|SAVEPOINT|RELEASE|ROLLBACK)\b|UPDATE \"access_session\" SET \"seen_at\"", re.IGNORECASE
)


class Via(StrEnum):
    """The way on which a change came."""

    ADMIN = "admin"
    API = "api"
    MCP = "mcp"
    PORTAL = "portal"
    COMMAND = "command"
    WORKER = "worker"
    SQL = "sql"


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody or something that changes rows."""

    via: Via
    user_id: int | None = None
    user_name: str = ""
    tool: str = ""  # the name of the admin token, command or task
    address: str | None = None  # an IP address

    def written(self) -> str:
        """As the trigger reads it."""
        named = {"via": self.via, "id": self.user_id, "name": self.user_name, "tool": self.tool}
        return json.dumps({**named, "address": self.address})


class _Teller:
    """An execute wrapper of Django's that says who acts before what writes."""

    def __init__(self, who: Callable[[], Actor]) -> None:
        self._who = who
        self._told: tuple[Actor, object] | None = None
        self._is_asking = False

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if not self._is_asking and not _WRITES_NOTHING.match(str(sql)):
            self._tell(context["connection"])
        return execute(sql, params, many, context)

    def _tell(self, database: BaseDatabaseWrapper) -> None:
        self._is_asking = True  # asking may read, and even write, a session
        try:
            actor = self._who()
        finally:
            self._is_asking = False
        # A rollback takes the setting back too. Django replaces this list whenever a transaction or savepoint ends.
        state = database.run_on_commit
        if self._told is None or self._told[0] != actor or self._told[1] is not state:
            _tell(database, actor.written())
            self._told = actor, state

    def forget(self) -> None:
        """Say it again before the next write."""
        self._told = None

    def end(self) -> None:
        """Leave nothing of it on the connection."""
        if self._told is None or connection.needs_rollback:
            return  # a transaction that can only be rolled back takes the setting with it
        if connection.connection is None:
            # It was given back with the name on it, as commands do when they end.
            connection.close_pool()  # type: ignore[attr-defined]  # Postgres' own
            return
        try:
            _tell(connection, "")
        except DatabaseError:
            connection.connection.close()  # broken: the pool throws it away, and nobody else gets it


def _tell(database: Any, text: str) -> None:
    with database.cursor() as cursor:
        cursor.execute(_TELL, [text])


@contextmanager
def acting(who: Callable[[], Actor]) -> Iterator[None]:
    """What this thread changes in it was done by `who()`, which is asked before each write. May be nested."""
    teller = _Teller(who)
    with connection.execute_wrapper(teller):
        try:
            yield
        finally:
            teller.end()
            for outer in connection.execute_wrappers:
                if isinstance(outer, _Teller):
                    outer.forget()


@contextmanager
def acting_as(via: Via, tool: str) -> Iterator[None]:
    """The same for a command or a task."""
    actor = Actor(via, tool=tool)
    with acting(lambda: actor):
        yield
