"""Calls to the product's endpoints, and what became of them at the targets, which are all the bench's sink."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from bench.load import Outcome, Plan
from bench.measure import chat_body
from bench.parts import BenchError, Part, fetch
from bench.product import Product

_DELIVERED_SECONDS = 120.0
_POLL_SECONDS = 0.02
_DUE_ROWS = "SELECT count(*) FROM deliveries_live WHERE state IN ('pending', 'sending')"
_LIVE_ROWS = "SELECT count(*) FROM deliveries_live"


@dataclass(frozen=True, slots=True)
class Relayed:
    """The product, the sink behind its targets, and a connection to look into the queue with."""

    product: Product
    sink: Part
    database: psycopg.Connection[tuple[object, ...]]

    def plan(self, path: str, count: int, connections: int, *, per_second: float = 0.0) -> Plan:
        """1 KB posts to an endpoint, whose ids are collected."""
        return Plan(
            url=self.product.edge_url + path,
            headers={"content-type": "application/json", "authorization": f"Bearer {self.product.relay_key}"},
            body=chat_body("no-model-but-1-KB-of-JSON"),
            connections=min(connections, count),
            count=count,
            expected_status=202,
            per_second=per_second,
            collect="requestId",
        )

    def received(self, targets: Sequence[str], count: int, started: float) -> float:
        """Seconds from `started` until each of the targets has so many ids. BenchError when they do not come."""

        def has_all() -> bool:
            seen = fetch(f"{self.sink.url}/seen")
            return all(seen.get(path, {"distinct": 0})["distinct"] >= count for path in targets)

        return self._wait(has_all, started, "every id at every target")

    def recorded(self, started: float, *, also_waiting: bool = False) -> float:
        """Seconds from `started` until every delivery is recorded. Those that wait for room at their target do not
        count unless it is said."""
        statement = _LIVE_ROWS if also_waiting else _DUE_ROWS
        return self._wait(
            lambda: self.database.execute(statement).fetchone() == (0,), started, "every delivery to be recorded"
        )

    def check_ids(self, targets: Sequence[str], outcome: Outcome) -> int:
        """Every accepted id was seen by each target, and no other. How many calls were repeats."""
        accepted = set(outcome.collected)
        seen = {path: set(ids) for path, ids in fetch(f"{self.sink.url}/received").items()}
        for path in targets:
            ids = seen.get(path, set())
            if ids != accepted:
                raise BenchError(
                    f"{path} saw {len(ids)} ids of {len(accepted)} accepted; "
                    f"missing {len(accepted - ids)}, strange {len(ids - accepted)}"
                )
        counts = fetch(f"{self.sink.url}/seen")
        return sum(counts[path]["calls"] - counts[path]["distinct"] for path in targets)

    def _wait(self, condition: Callable[[], bool], started: float, what: str) -> float:
        while not condition():
            if time.perf_counter() - started > _DELIVERED_SECONDS:
                seen = fetch(self.sink.url + "/seen")
                raise BenchError(f"Still waiting after {_DELIVERED_SECONDS:.0f} s for {what}; {seen}")
            time.sleep(_POLL_SECONDS)
        return time.perf_counter() - started


@contextmanager
def opened(product: Product, sink: Part) -> Iterator[Relayed]:
    """For the block. BenchError where Postgres does not wait for the disk."""
    with product.database() as database:
        said = database.execute("SHOW fsync").fetchone()
        if said != ("on",):
            raise BenchError(
                f"Postgres runs with fsync {said}: what it accepts is not safe, and the figures would lie."
            )
        yield Relayed(product, sink, database)
