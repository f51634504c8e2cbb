"""The bench's history is what the product would have left behind, and its catalog is one that the product takes."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from bench import catalog, history, product
from relay_admin.deliveries.storage import PARENTS
from relay_contract import signing, tokens
from relay_contract.nouns import KeyMode
from standalone import postgres

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench runs on Linux")

COUNTS = """
SELECT (SELECT count(*) FROM deliveries_request WHERE EXISTS (
        SELECT 1 FROM deliveries_payload p WHERE p.request_id = deliveries_request.id)),
    count(*), count(*) FILTER (WHERE d.state = 'dead'),
    count(*) FILTER (WHERE EXISTS (SELECT 1 FROM deliveries_request q WHERE q.id = d.request_id)),
    count(*) FILTER (WHERE EXISTS (SELECT 1 FROM deliveries_attempt a WHERE a.delivery_id = d.id)),
    count(*) FILTER (WHERE d.created_at >= date_trunc('day', now(), 'UTC'))
FROM deliveries_finished d
"""


@pytest.fixture
def database_url() -> Iterator[str]:
    """Of a Postgres of its own: a month of partitions is no state for other tests."""
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        Path(folder).chmod(0o711)  # as root, Postgres runs as nobody and must get to its data
        server = postgres.start(Path(folder), fast=True)
        try:
            catalog.migrate(server.url)
            yield server.url
        finally:
            server.stop()


def test_a_month_of_deliveries_is_whole_and_accounted_for(database_url: str, tmp_path: Path) -> None:
    document = tmp_path / "bench.yaml"
    document.write_text(product.catalog("http://127.0.0.1:1", "http://127.0.0.1:2"))
    token = tokens.mint(KeyMode.LIVE).token
    catalog.manage(
        *(database_url, "catalog", "apply", str(document), "--yes"),
        BENCH_RELAY_KEY=token,
        BENCH_RATES_KEY=tokens.mint(KeyMode.LIVE).token,
        BENCH_SIGNING_SECRET=signing.new_secret(),
        BENCH_VENDOR_KEY="a-key-of-nobody",
        RELAY_EGRESS_ALLOW="127.0.0.0/8",
    )
    with psycopg.connect(database_url, autocommit=True) as database:
        assert history.fill(database, 1_200) == 1_200
        assert database.execute(COUNTS).fetchone() == (400, 1_200, 12, 1_200, 1_200, 600)
        for parent in PARENTS:
            assert database.execute(f"SELECT count(*) FROM {parent.table}_default").fetchone() == (0,)
    catalog.manage(database_url, "credits", "check")
