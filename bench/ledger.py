"""What posting, folding and reading the ledger costs: `python -m bench.ledger [--entries N]`. Prints JSON.

Calls of a thousand projects, each marked up and so of three legs, are posted as one worker does it, and
what they left is folded. Then one wallet gets N entries (ten million, about 3 GB; minutes) by SQL, and its balance and
pages are read as the admin and the API read them. Against an embedded Postgres of its own that waits for the disk, in a
temporary folder, ended afterwards.
"""

import argparse
import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import django
import msgspec
import psycopg
import uvloop

from bench.catalog import migrate
from delivery import ledger_fold
from delivery.database import PLANNED_ONCE, Connection
from delivery.ledger_poster import POSTERS, Posters
from relay_contract.ids import uuid7
from relay_contract.traffic import CallRow, insert_statement
from standalone import postgres

PROJECTS = 1_000
CALLS = 60_000
BATCH = 256
ENTRIES = 10_000_000
CHUNK = 250_000
READS = 200
DEFAULT_FOLDER = "/var/tmp"  # on a disk; the folder in it has a name of its own

PROJECTS_SQL = f"""
INSERT INTO catalog_project (slug, name, description, is_archived, created_at, updated_at)
    SELECT 'project-' || n, '', '', false, now(), now() FROM generate_series(1, {PROJECTS}) AS n
"""
TERMS_SQL = """
INSERT INTO ledger_terms (project_id, markup_ppm, owner_ppm, referral_ppm)
    SELECT id, 150000, 900000, 0 FROM catalog_project RETURNING id, project_id
"""
ENTRIES_SQL = """
INSERT INTO ledger_entry (source, kind, debit_id, credit_id, amount, at, note)
SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
        || substr(md5(n::text), 4, 15))::uuid,
    1, %(wallet)s, 2, 1 + n %% 1000, now() - interval '60 days' + n * interval '0.5 s', 'bench'
FROM generate_series(%(since)s::bigint, %(until)s::bigint) AS n
"""
# Rows first, and then what each statement of the product would have kept up to date: the same tables, minutes sooner.
BARE_SQL = """
ALTER TABLE ledger_entry DISABLE TRIGGER ledger_count_entries;
DROP INDEX ledger_entry_debits, ledger_entry_credits;
"""
WHOLE_SQL = """
SET maintenance_work_mem = '512MB';
CREATE INDEX ledger_entry_debits ON ledger_entry (debit_id, source, kind);
CREATE INDEX ledger_entry_credits ON ledger_entry (credit_id, source, kind);
ALTER TABLE ledger_entry ENABLE TRIGGER ledger_count_entries;
"""
COUNTED_SQL = """
INSERT INTO ledger_delta (account_id, day, kind, debit, credit, entries)
SELECT account_id, (at AT TIME ZONE 'UTC')::date, kind, sum(debit), sum(credit), count(*)
FROM ledger_entry, LATERAL (VALUES (debit_id, amount, 0), (credit_id, 0, amount)) AS side(account_id, debit, credit)
WHERE note = 'bench' GROUP BY 1, 2, 3
"""
DELTAS_SQL = "SELECT (SELECT count(*) FROM ledger_delta) + (SELECT count(*) FROM ledger_usagedelta)"


def calls_fill(database: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Calls as the edge writes them, in its batches."""
    database.execute(PROJECTS_SQL)
    terms = {project: id_ for id_, project in database.execute(TERMS_SQL).fetchall()}
    wallets = database.execute("SELECT id, live_wallet_id FROM catalog_project ORDER BY id").fetchall()
    empty = {
        each.name: 0 if each.type in (int, int | None) else "" for each in fields(CallRow) if each.default is MISSING
    }
    statement = insert_statement(CallRow)
    for first in range(0, CALLS, BATCH):
        rows = []
        for number in range(first, min(first + BATCH, CALLS)):
            project, wallet = wallets[number * 7 % PROJECTS]
            given: dict[str, Any] = {
                **empty,
                "id": uuid7(),
                "received_at": datetime.now(UTC),
                "project_id": project,
                "mode": "live",
                "model": f"model-{number % 20}",
                "is_stream": False,
                "usage_source": "provider",
                "tags": {},
                "payer_id": wallet,
                "terms_id": terms[project],
                "pricing_version": 1,
                "input_tokens": 1200,
                "charge_microcredits": 1_552_500,
                "markup_microcredits": 202_500,
                "cost_nanousd": 1_350_000,
            }
            rows.append(CallRow(**given))
        database.execute(statement, [msgspec.json.encode(rows).decode()])


async def post_and_fold(url: str, database: psycopg.Connection[tuple[Any, ...]]) -> dict[str, float]:
    """All that is due, then all that it left."""
    connection, beside = [Connection(url, "bench", PLANNED_ONCE) for _ in range(POSTERS)]
    posters = Posters(connection, beside)
    try:
        started, cpu = time.perf_counter(), time.process_time()
        while await posters.step():
            pass
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        if (posters.figures.calls, posters.figures.entries) != (CALLS, 3 * CALLS):
            raise SystemExit(f"{posters.figures} is not what was called")
        [(deltas,)] = database.execute(DELTAS_SQL).fetchall()
        started = time.perf_counter()
        while await ledger_fold.fold(connection):
            pass
        folded = time.perf_counter() - started
    finally:
        await connection.close()
        await beside.close()
    return {
        "posted_per_second": round(CALLS / seconds),
        "posting_cpu_us": round(1e6 * cpu / CALLS, 1),
        "folded_deltas_per_second": round(deltas / folded),
    }


def entries_fill(database: psycopg.Connection[tuple[Any, ...]], entries: int) -> int:
    """The first wallet's; its id."""
    [(wallet,)] = database.execute("SELECT live_wallet_id FROM catalog_project ORDER BY id LIMIT 1").fetchall()
    database.execute(BARE_SQL)
    for since in range(1, entries + 1, CHUNK):
        until = min(since + CHUNK - 1, entries)
        database.execute(ENTRIES_SQL, {"wallet": wallet, "since": since, "until": until})
    database.execute(WHOLE_SQL)
    database.execute(COUNTED_SQL)
    database.execute("VACUUM (ANALYZE) ledger_entry")
    database.execute("CHECKPOINT")
    return int(wallet)


def read_ms(name: str, read: Callable[[], object]) -> dict[str, float]:
    """The median, and the 99th of a hundred."""
    taken = []
    for _ in range(READS):
        started = time.perf_counter()
        read()
        taken.append(1000 * (time.perf_counter() - started))
    found = statistics.quantiles(taken, n=100)
    return {f"{name}_p50": round(found[49], 2), f"{name}_p99": round(found[98], 2)}


def reads(wallet: int, entries: int) -> dict[str, float]:
    """As the admin and the control API do it."""
    from relay_admin.ledger import accounts  # noqa: PLC0415 (Django is set up by now)

    middle = UUID(int=(1_700_000_000_000 + entries // 2) << 80), 1
    today = datetime.now(UTC).date()
    return {
        **read_ms("balance", lambda: accounts.balance_of(wallet)),
        **read_ms("newest_entries", lambda: accounts.entries_page(wallet)),
        **read_ms("older_entries", lambda: accounts.entries_page(wallet, middle)),
        **read_ms("days", lambda: accounts.days(wallet, today - timedelta(days=30), today)),
    }


AT_MOST = dict.fromkeys(("balance_p99", "newest_entries_p99", "older_entries_p99", "days_p99"), 100.0)
AT_LEAST = {"posted_per_second": 5_000.0}
UNITS = {"second": "1/s", "us": "us", "p50": "ms", "p99": "ms", "entries": "rows"}


def figure(name: str, value: float) -> dict[str, Any]:
    """As `python -m bench` reads it."""
    bounds = {"aim_at_most": AT_MOST.get(name), "aim_at_least": AT_LEAST.get(name)}
    return {"name": f"ledger {name}", "unit": UNITS[name.rpartition("_")[2]], "value": value, **bounds}


def measured(url: str, entries: int) -> dict[str, float]:
    """In the order in which rows pile up."""
    with psycopg.connect(url, autocommit=True) as database:
        calls_fill(database)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            figures = runner.run(post_and_fold(url, database))
        wallet = entries_fill(database, entries)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "relay_admin.settings",
        "DATABASE_URL": url,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "RELAY_SECRET_KEY": secrets.token_urlsafe(32),
        "RELAY_MASTER_KEY": "A" * 43 + "=",
    }
    django.setup()
    return figures | {"wallet_entries": entries, **reads(wallet, entries)}


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger")
    parser.add_argument("--entries", type=int, default=ENTRIES)
    parser.add_argument("--folder", default=DEFAULT_FOLDER)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=options.folder) as folder:
        Path(folder).chmod(0o711)  # as root, Postgres runs as nobody and must get to its data
        server = postgres.start(Path(folder))
        try:
            migrate(server.url)
            figures = measured(server.url, options.entries)
        finally:
            server.stop()
    sys.stdout.write(json.dumps({"figures": [figure(name, value) for name, value in figures.items()]}) + "\n")


if __name__ == "__main__":
    main()
