"""`manage.py edge_role`: the edge's database role, with exactly the columns that the contract names.

Idempotent. The edge may read the nouns' columns and insert intake rows; Postgres itself refuses it everything else:
password hashes, signing secrets, the ledger.
"""

from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from psycopg import sql

from relay_contract import intake, nouns, traffic

INTAKE_ROWS = (intake.RequestRow, intake.PayloadRow, intake.DeliveryRow)


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
            f"role {role}: may read {len(nouns.NOUNS)} nouns and insert into"
            f" {len(INTAKE_ROWS) + len(traffic.TRAFFIC_ROWS)} tables"
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
        for noun in nouns.NOUNS:
            self._grant(cursor, "SELECT", noun.table, nouns.columns(noun), role)
        for row in INTAKE_ROWS:
            self._grant(cursor, "INSERT", row.table, intake.columns(row), role)
        for traffic_row in traffic.TRAFFIC_ROWS:
            self._grant(cursor, "INSERT", traffic_row.table, traffic.columns(traffic_row), role)

    def _grant(self, cursor: Any, verb: str, table: str, columns: tuple[str, ...], role: sql.Identifier) -> None:
        statement = sql.SQL("GRANT {verb} ({columns}) ON {table} TO {role}").format(
            verb=sql.SQL(verb),
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            table=sql.Identifier(table),
            role=role,
        )
        cursor.execute(statement.as_string())
