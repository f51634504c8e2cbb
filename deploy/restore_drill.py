# ruff: noqa: INP001 (a script, no module)
"""Proves that a back-up can be restored: `python deploy/restore_drill.py FILE`, with the control plane's variables.

Restores it into a new database beside the one of DATABASE_URL, compares every row, checks the ledger, opens secrets
with the master key, and drops that database again. The role needs CREATEDB. Exit status 0: the back-up is good.
"""

import argparse
import os
import secrets
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """The exit status of `manage.py restore`."""
    parser = argparse.ArgumentParser(description="Restore a back-up into a database of its own, and drop that.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--keep", metavar="DATABASE", help="a name for the database, which is not dropped then")
    asked = parser.parse_args()
    server = os.environ["DATABASE_URL"]
    name = asked.keep or f"relay_drill_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as database:
        database.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            return restore(asked.file, urlsplit(server)._replace(path=f"/{name}").geturl())
        finally:
            if not asked.keep:
                database.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def restore(file: Path, url: str) -> int:
    """Without the edge's role, which would get another password, and without the live Redis."""
    environment = os.environ | {
        "DATABASE_URL": url,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "RELAY_EDGE_DATABASE_URL": "",
    }
    command = [sys.executable, str(ROOT / "manage.py"), "restore", str(file.resolve())]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode  # noqa: S603 - our own command


if __name__ == "__main__":
    sys.exit(main())
