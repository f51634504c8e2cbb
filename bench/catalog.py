"""What a catalog of 100,000 relay keys costs an edge process: `python -m bench.catalog`. Prints JSON.

Figures: `load_seconds` of the whole catalog, `longest_stall_ms` of the event loop meanwhile (a ticker asks for every
turn of the loop and notes the longest pause between two), `read_ms` and `apply_ms` of one changed row, `reload_*` for a
full load over a snapshot that is in use (the old one is freed then), resident memory, and `revoked_key_refused_ms`: the
longest time from the commit that revokes a key to the listener's swap. Against an embedded Postgres of its own, in a
temporary folder, ended afterwards.
"""

import asyncio
import base64
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop
from psycopg import AsyncConnection

from relay_contract.nouns import Noun, RelayKey
from relay_contract.sealing import Sealer
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.listen import CatalogListener, release
from relay_edge.catalog.load import load_all, load_some
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.metrics import Metrics, resident_bytes
from standalone import postgres

ROOT = Path(__file__).resolve().parent.parent
KEYS = 100_000
CHANGES = 500
REVOCATIONS = 50
REVOCATION_DEADLINE_SECONDS = 30.0

FILL = """
INSERT INTO catalog_project (slug, name, description, is_archived, created_at, updated_at)
    SELECT 'project-' || n, 'project', '', false, now(), now() FROM generate_series(1, 1000) AS n;
INSERT INTO access_relaykey (project_id, name, mode, key_id, token_hash, scopes, captures_payloads, created_at,
                             expires_at)
    SELECT (SELECT min(id) FROM catalog_project) + n % 1000, 'key ' || n, 'live', lpad(n::text, 12, '0'),
           sha256(n::text::bytea), ARRAY['relay', 'inference'], false, now(), now() + interval '1 year'
    FROM generate_series(1, {keys}) AS n;
"""


class Stalls:
    """The longest time between two turns of the event loop."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watches while the block runs; costs the loop a wake-up each turn."""
        self.longest_seconds = 0.0
        task = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            task.cancel()

    async def _tick(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.longest_seconds = max(self.longest_seconds, now - last)
            last = now


def refuse(noun: type[Noun], row_id: int, error: Exception) -> None:
    """Every row of this catalog can be read."""
    raise AssertionError(f"{noun.table} {row_id}: {error!r}")


def manage(database_url: str, *arguments: str, **variables: str) -> None:
    """A command of manage.py on this database, which needs nothing else to run. CalledProcessError when it fails."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "RELAY_SECRET_KEY": secrets.token_urlsafe(32),
        "RELAY_MASTER_KEY": base64.b64encode(bytes(32)).decode(),
    }
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment | variables, check=True)


def migrate(database_url: str) -> None:
    """Tables and triggers, as the product makes them."""
    manage(database_url, "migrate", "--verbosity", "0")


async def measure(database_url: str, keys: int) -> dict[str, Any]:
    """The figures, in the order in which an edge process meets them."""
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        for statement in FILL.format(keys=keys).split(";")[:-1]:
            await connection.execute(statement)
        await connection.execute("ANALYZE")
        catalog, stalls = Catalog(Sealer(bytes(32))), Stalls()
        before_bytes = resident_bytes()
        figures: dict[str, Any] = {"relay_keys": keys}
        for name in ("load", "reload"):
            started = time.perf_counter()
            with stalls.watched():
                replaced = catalog.snapshot
                catalog.swap(await load_all(connection, 1, refuse))
                figures[f"{name}_seconds"] = round(time.perf_counter() - started, 3)
                if replaced is not None:
                    portions = replaced.portions()
                    del replaced
                    await release(portions)
                await asyncio.sleep(0.01)
            figures[f"{name}_longest_stall_ms"] = round(1000 * stalls.longest_seconds, 1)
            figures[f"{name}_resident_mb"] = round((resident_bytes() - before_bytes) / 1e6, 1)
        figures |= await measure_changes(connection, catalog)
        figures |= await measure_revocations(database_url, connection)
    return figures


async def measure_changes(connection: AsyncConnection[Any], catalog: Catalog) -> dict[str, float]:
    """One relay key at a time, from the notification to the swap."""
    cursor = await connection.execute("SELECT id FROM access_relaykey ORDER BY random() LIMIT %s", [CHANGES])
    read, applied = [], []
    for (row_id,) in await cursor.fetchall():
        started = time.perf_counter()
        changes = await load_some(connection, {RelayKey: {row_id}}, refuse)
        between = time.perf_counter()
        snapshot: Snapshot | None = catalog.snapshot
        assert snapshot is not None
        catalog.swap(snapshot.apply(changes))
        read.append(1000 * (between - started))
        applied.append(1000 * (time.perf_counter() - between))
    both = sorted(one + other for one, other in zip(read, applied, strict=True))
    return {
        "read_ms_p50": round(statistics.median(read), 3),
        "apply_ms_p50": round(statistics.median(applied), 3),
        "read_and_apply_ms_p50": round(statistics.median(both), 3),
        "read_and_apply_ms_p99": round(both[int(len(both) * 0.99)], 3),
    }


async def measure_revocations(database_url: str, connection: AsyncConnection[Any]) -> dict[str, float]:
    """From the commit that revokes a key to the moment the edge's listener has it, one key after the other."""
    catalog = Catalog(Sealer(bytes(32)))
    listening = asyncio.create_task(CatalogListener(catalog, database_url, Metrics()).run())
    try:
        await catalog.loaded.wait()
        cursor = await connection.execute("SELECT id, token_hash FROM access_relaykey LIMIT %s", [REVOCATIONS])
        live = sorted([await _revoke(connection, catalog, *row) for row in await cursor.fetchall()])
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return {
        "revoked_key_refused_ms_p50": round(statistics.median(live), 1),
        "revoked_key_refused_ms": round(live[-1], 1),
    }


async def _revoke(connection: AsyncConnection[Any], catalog: Catalog, row_id: int, token_hash: bytes) -> float:
    await connection.execute("UPDATE access_relaykey SET revoked_at = now() WHERE id = %s", [row_id])
    started = time.perf_counter()
    while True:
        assert catalog.snapshot is not None
        key = catalog.snapshot.relay_key(token_hash)
        if key is not None and key.revoked_at is not None:
            return 1000 * (time.perf_counter() - started)
        assert time.perf_counter() - started < REVOCATION_DEADLINE_SECONDS
        await asyncio.sleep(0.001)


AIMS = {
    "load_seconds": 3.0,
    "load_longest_stall_ms": 50.0,
    "reload_longest_stall_ms": 50.0,
    "read_and_apply_ms_p99": 2.0,
    "revoked_key_refused_ms": 1500.0,
}
"""At most."""

UNITS = {"seconds": "s", "ms": "ms", "p50": "ms", "p99": "ms", "mb": "MB", "keys": "rows"}


def figure(name: str, value: float) -> dict[str, Any]:
    """As `python -m bench` reads it."""
    return {"name": name, "unit": UNITS[name.rpartition("_")[2]], "value": value, "aim_at_most": AIMS.get(name)}


def main() -> None:
    """Prints one line of JSON."""
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        Path(folder).chmod(0o711)  # as root, Postgres runs as nobody and must get to its data
        server = postgres.start(Path(folder), fast=True)
        try:
            migrate(server.url)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                figures = runner.run(measure(server.url, KEYS))
        finally:
            server.stop()
    sys.stdout.write(json.dumps({"figures": [figure(name, value) for name, value in figures.items()]}) + "\n")


if __name__ == "__main__":
    main()
