"""The edge's database role: that it can sign in, and that Postgres lets it do what it should and nothing more."""

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from relay_admin.catalog import edge_grants
from relay_admin.doctor import postgres
from relay_admin.doctor.finding import Finding, broken, ok, some_of, warning
from relay_admin.doctor.postgres import Database

Right = tuple[str, str, str]
"""Privilege, table, column; the column is "" for what is had of a whole table only."""

AGAIN = "Run `python manage.py edge_role`, which grants exactly what it needs."
CONNECT_TIMEOUT_SECONDS = 3

# What it really may do, wherever that comes from: own grants, PUBLIC's, other roles', ownership, being superuser.
_MAY = """
SELECT privilege, relname::text, attname::text
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS privilege
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
    AND has_column_privilege(%(role)s, pg_class.oid, attnum, privilege)
UNION ALL
SELECT privilege, relname::text, ''
FROM pg_class, unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) AS privilege
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
    AND has_table_privilege(%(role)s, pg_class.oid, privilege)
"""
_ATTRIBUTES = """
SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication,
    EXISTS (SELECT 1 FROM pg_auth_members WHERE member = pg_roles.oid),
    has_schema_privilege(oid, 'public', 'CREATE')
FROM pg_roles WHERE rolname = %s
"""
_ATTRIBUTE_NAMES = (
    "is a superuser",
    "may make databases",
    "may make roles",
    "passes by row security",
    "may replicate",
    "is a member of another role",
    "may make tables in the schema public",
)


def examine(database: Database, edge_url: str) -> Iterator[Finding]:
    """`edge_url`: RELAY_EDGE_DATABASE_URL, "" where it is not set."""
    role = unquote(urlsplit(edge_url).username or "")
    if not role:
        yield warning("edge_role.sign_in", "RELAY_EDGE_DATABASE_URL is not set here", "Set it, and look again.")
        return
    found = database.execute(_ATTRIBUTES, [role]).fetchone()
    if found is None:
        yield broken("edge_role.sign_in", f"there is no role {role}", AGAIN)
        return
    yield _sign_in(role, edge_url, str(database.info.dbname))
    yield attributes(role, [name for name, has in zip(_ATTRIBUTE_NAMES, found, strict=True) if has])
    may = {(verb, table, column) for verb, table, column in database.execute(_MAY, {"role": role})}
    yield grants(role, wanted(), may)


def wanted() -> set[Right]:
    """Everything that the role should be able to do."""
    return {(verb, table, column) for verb, table, columns in edge_grants.grants() for column in columns}


def attributes(role: str, wrong: list[str]) -> Finding:
    """`wrong`: what the role is or may, beside grants on tables."""
    if wrong:
        return broken(
            "edge_role.attributes",
            f"{role} {', '.join(wrong)}",
            "Take it away: ALTER ROLE, REVOKE role FROM, REVOKE CREATE ON SCHEMA public FROM PUBLIC; then"
            " `python manage.py edge_role`.",
        )
    return ok("edge_role.attributes", f"{role} is an ordinary role")


def grants(role: str, should: set[Right], may: set[Right]) -> Finding:
    """What is missing stops the edge; what is too much lets a broken edge read secrets or change money."""
    missing, more = _words(should - may), _words(may - should)
    if missing:
        return broken("edge_role.grants", f"{role} may not {some_of(missing)}", AGAIN)
    if more:
        return broken(
            "edge_role.grants",
            f"{role} may also {some_of(more)}",
            f"{AGAIN} What stays after that comes from PUBLIC or another role: REVOKE it there.",
        )
    return ok("edge_role.grants", f"{role} may do exactly what it needs on {len({t for _, t, _ in should})} tables")


def _words(rights: set[Right]) -> list[str]:
    return sorted({f"{verb} {table}" for verb, table, _column in rights})


def _sign_in(role: str, edge_url: str, own_database: str) -> Finding:
    name = conninfo_to_dict(edge_url).get("dbname")
    if name != own_database:
        return broken(
            "edge_role.sign_in",
            f"RELAY_EDGE_DATABASE_URL names the database {name}, DATABASE_URL {own_database}",
            "Let both URLs name the same database.",
        )
    try:
        with psycopg.connect(edge_url, connect_timeout=CONNECT_TIMEOUT_SECONDS, autocommit=True) as edge:
            settings = postgres.shown(edge)
    except psycopg.OperationalError as error:
        return broken("edge_role.sign_in", f"{role} cannot sign in ({type(error).__name__})", AGAIN)
    if any(value == "off" for value in settings.values()):
        return postgres.durability("edge_role.sign_in", settings)
    return ok("edge_role.sign_in", f"{role} can sign in")
