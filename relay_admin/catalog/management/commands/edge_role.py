"""`manage.py edge_role`: the edge's database role, with exactly the columns that the contract names.

Idempotent. The edge may read the nouns' columns and stored answers, and insert rows of traffic with their holds;
Postgres itself refuses it everything else: password hashes, signing secrets, reading the ledger.
"""

from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from psycopg import sql

from relay_admin.catalog import edge_grants
from relay_contract import nouns


class Command(BaseCommand):
    """Creates or updates the role named in RELAY_EDGE_DATABASE_URL."""

    help = "Create or update the edge's restricted database role from RELAY_EDGE_DATABASE_URL."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Raises CommandError when the URL is missing or names the owner's own role."""
        url = urlsplit(settings.EDGE_DATABASE_URL)
        if not url.username or not url.password:
            raise CommandError("Set RELAY_EDGE_DATABASE_URL to postgresql://ROLE:PASSWORD@HOST/DATABASE.")
        role = unquote(url.username)
        if role == connection.settings_dict["USER"]:
            raise CommandError("RELAY_EDGE_DATABASE_URL must name a role of its own, not the owner of the tables.")
        with transaction.atomic(), connection.cursor() as cursor:
            self._role(cursor, role, unquote(url.password))
            self._grants(cursor, sql.Identifier(role))
        self.stdout.write(
            f"role {role}: may read {len(nouns.NOUNS)} nouns and stored answers, and insert into"
            f" {len(edge_grants.INSERTED)} tables"
        )

    def _role(self, cursor: Any, role: str, password: str) -> None:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
        verb = "ALTER" if cursor.fetchone() else "CREATE"
        statement = sql.SQL(
            "{verb} ROLE {role} LOGIN PASSWORD {password} NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT"
        )
        cursor.execute(
            statement.format(verb=sql.SQL(verb), role=sql.Identifier(role), password=sql.Literal(password)).as_string()
        )

    def _grants(self, cursor: Any, role: sql.Identifier) -> None:
        cursor.execute(sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(role).as_string())
        cursor.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role).as_string())
        for verb, table, columns in edge_grants.grants():
            self._grant(cursor, verb, table, columns, role)

    def _grant(self, cursor: Any, verb: str, table: str, columns: tuple[str, ...], role: sql.Identifier) -> None:
        statement = sql.SQL("GRANT {verb} ({columns}) ON {table} TO {role}").format(
            verb=sql.SQL(verb),
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            table=sql.Identifier(table),
            role=role,
        )
        cursor.execute(statement.as_string())
