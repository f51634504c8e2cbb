"""What access tokens cost an edge process, and how long a revoked one is still taken: `python -m bench.tokens`.

Prints JSON. Figures: microseconds of CPU that recognising a caller takes by a relay key that is known, by a token that
is known, by one that is new (cold), by one that is forged; memory a remembered token; and `revoked_token_refused_ms`:
the longest time from the commit of a revocation to the moment at which every one of LISTENERS edges refuses the token,
while other rows of the catalog change CHANGES_A_SECOND times a second. Against an embedded Postgres of its own, in a
temporary folder, ended afterwards.
"""

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop
from multidict import CIMultiDict
from psycopg import AsyncConnection

from bench.catalog import migrate, refuse
from relay_contract import token_keys
from relay_contract.access_tokens import LIFE_SECONDS, Claims, write
from relay_contract.errors import TokenInvalid, TokenRevoked
from relay_contract.nouns import KeyMode, Scope
from relay_contract.sealing import Sealer
from relay_edge.auth import Authenticator
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.listen import CatalogListener
from relay_edge.catalog.load import load_all
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.metrics import Metrics
from relay_edge.token_callers import TokenCallers
from standalone import postgres

ISSUER, AUDIENCE = "https://relay.example.com", "https://edge.example.com"
TOKENS = 2_000
CALLS = 100_000
LISTENERS = 4
REVOCATIONS = 50
CHANGES_A_SECOND = 200
DEADLINE_SECONDS = 30.0
KEY = "rk_live_benchbenchbenchbenchbenchbenchbenchbenchbenchbenchbench"

FILL = """
INSERT INTO catalog_project (slug, name, description, is_archived, created_at, updated_at)
    VALUES ('bench', 'bench', '', false, now(), now());
INSERT INTO access_relaykey (project_id, name, mode, key_id, token_hash, scopes, captures_payloads, created_at)
    SELECT id, 'bench', 'live', 'bench', sha256('{key}'::bytea), ARRAY['inference'], false, now() FROM catalog_project;
INSERT INTO catalog_model (name, description, owned_by, is_enabled, capabilities, created_at, updated_at)
    SELECT 'model-' || n, '', 'bench', true, '{{}}', now(), now() FROM generate_series(1, 1000) AS n;
INSERT INTO access_oauthapplication (project_id, name, homepage, client_id, client_secret, client_type,
                                     authorization_grant_type, redirect_uris, allowed_origins, mode, is_enabled,
                                     captures_payloads, created, updated)
    SELECT id, 'bench', '', 'app_bench', '', 'public', 'authorization-code', '', ARRAY[]::varchar[], 'live', true,
           false, now(), now() FROM catalog_project;
"""
SIGNING_KEY = """
INSERT INTO access_signingkey (kid, public_der, sealed_private, activates_at, created_at)
    VALUES ('bench', %s, '', now(), now())
"""


class Issuer:
    """Signs tokens as the control plane does."""

    def __init__(self, project_id: int, application_id: int) -> None:
        self._key = token_keys.make()
        self.public_der = token_keys.public_der(self._key)
        now = int(time.time())
        self._claims = Claims(
            subject=1,
            client_id="app_bench",
            project_id=project_id,
            application_id=application_id,
            authorization_id=1,
            wallet_id=100,
            mode=KeyMode.LIVE,
            scopes=("inference", "offline_access"),
            cap_microcredits=None,
            issued_at=now,
            expires_at=now + LIFE_SECONDS,
            jti="0" * 22,
        )

    def token(self, number: int) -> str:
        """Of another user each."""
        said = replace(self._claims, subject=number, jti=f"{number:022}")
        return write(said, issuer=ISSUER, audience=AUDIENCE, kid="bench", private_key=self._key)


def microseconds(act: Callable[[], object], times: int) -> float:
    """CPU of one, over so many."""
    started = time.process_time()
    for _ in range(times):
        act()
    return round((time.process_time() - started) / times * 1e6, 2)


def measure_calls(snapshot: Snapshot, issuer: Issuer) -> dict[str, float]:
    """What one call costs by each way to show who calls."""
    now = time.time()
    authenticator = Authenticator(tokens=TokenCallers(ISSUER, AUDIENCE))
    written = [issuer.token(number) for number in range(1, TOKENS + 1)]
    shown = [CIMultiDict({"Authorization": f"Bearer {token}"}) for token in written]
    forged = [CIMultiDict({"Authorization": f"Bearer {token[:-8]}AAAAAAAA"}) for token in written]
    by_key = CIMultiDict({"Authorization": f"Bearer {KEY}"})

    def ask(headers: CIMultiDict[str]) -> None:
        authenticator.authenticate(snapshot, headers, Scope.INFERENCE, now)

    def ask_in_vain(headers: CIMultiDict[str]) -> None:
        with contextlib.suppress(TokenInvalid):
            ask(headers)

    ask(by_key)
    cold, later, wrong = iter(shown), iter(shown), iter(forged)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    remembered = Authenticator(tokens=TokenCallers(ISSUER, AUDIENCE))
    for headers in later:
        remembered.authenticate(snapshot, headers, Scope.INFERENCE, now)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return {
        "token_cold_us": microseconds(lambda: ask(next(cold)), TOKENS),
        "token_known_us": microseconds(lambda: ask(shown[0]), CALLS),
        "relay_key_known_us": microseconds(lambda: ask(by_key), CALLS),
        "token_forged_us": microseconds(lambda: ask_in_vain(next(wrong)), TOKENS),
        "token_remembered_bytes": round(held / TOKENS),
    }


class Edge:
    """As much of an edge process as a revocation meets."""

    def __init__(self, database_url: str) -> None:
        self.catalog = Catalog(Sealer(bytes(32)))
        self._tokens = TokenCallers(ISSUER, AUDIENCE)
        self.listening = asyncio.create_task(CatalogListener(self.catalog, database_url, Metrics()).run())

    def takes(self, token: bytes) -> bool:
        """Whether a call with it would be let in now."""
        assert self.catalog.snapshot is not None
        try:
            self._tokens.recognise(self.catalog.snapshot, token, Scope.INFERENCE, time.time())
        except TokenRevoked:
            return False
        return True


async def change(database_url: str) -> None:
    """Changes rows of the catalog, evenly, until it is cancelled."""
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        started, done = time.monotonic(), 0
        while True:
            await connection.execute(
                "UPDATE catalog_model SET owned_by = %s WHERE name = %s", [str(done), f"model-{done % 1000 + 1}"]
            )
            done += 1
            await asyncio.sleep(max(0.0, started + done / CHANGES_A_SECOND - time.monotonic()))


async def measure_revocations(database_url: str, connection: AsyncConnection[Any], issuer: Issuer) -> dict[str, float]:
    """From the commit to the last edge's refusal, one user after the other."""
    edges = [Edge(database_url) for _ in range(LISTENERS)]
    changing = asyncio.create_task(change(database_url))
    taken = []
    try:
        await asyncio.gather(*(edge.catalog.loaded.wait() for edge in edges))
        await asyncio.sleep(2)  # until the listeners gather for as long as they do under such changes
        for number in range(1, REVOCATIONS + 1):
            token = issuer.token(number).encode()
            assert all(edge.takes(token) for edge in edges)
            before = datetime.now(UTC) + timedelta(seconds=1)
            await connection.execute(
                "INSERT INTO access_revocation (kind, value, issued_before, expires_at) VALUES ('user', %s, %s, %s)",
                [str(number), before, before + timedelta(seconds=LIFE_SECONDS)],
            )
            started = time.perf_counter()
            while any(edge.takes(token) for edge in edges):
                assert time.perf_counter() - started < DEADLINE_SECONDS
                await asyncio.sleep(0.001)
            taken.append(1000 * (time.perf_counter() - started))
    finally:
        tasks = [changing, *(edge.listening for edge in edges)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "revoked_token_refused_p50_ms": round(statistics.median(taken), 1),
        "revoked_token_refused_ms": round(max(taken), 1),
    }


async def measure(database_url: str) -> dict[str, float]:
    """Every figure."""
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        for statement in FILL.format(key=KEY).split(";")[:-1]:
            await connection.execute(statement)
        cursor = await connection.execute("SELECT project_id, id FROM access_oauthapplication")
        issuer = Issuer(*(await cursor.fetchall())[0])
        await connection.execute(SIGNING_KEY, [issuer.public_der])
        figures: dict[str, float] = measure_calls(await load_all(connection, 1, refuse), issuer)
        return figures | await measure_revocations(database_url, connection, issuer)


AIMS = {"revoked_token_refused_ms": 1500.0}
"""At most."""

UNITS = {"us": "us", "ms": "ms", "bytes": "bytes"}


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
                figures = runner.run(measure(server.url))
        finally:
            server.stop()
    sys.stdout.write(json.dumps({"figures": [figure(name, value) for name, value in figures.items()]}) + "\n")


if __name__ == "__main__":
    main()
