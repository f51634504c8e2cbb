"""What Postgres and the targets say after a run, beside what callers were promised."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.chaos.traffic import Acknowledged

# Accepted requests alone: refused ones are in the same table, with their error.
_REQUESTS = """
SELECT request.id::text, request.idempotency_key FROM deliveries_request AS request
JOIN catalog_endpoint AS endpoint ON endpoint.id = request.endpoint_id
WHERE endpoint.slug = %(slug)s AND request.error = ''
"""
_LIVE = f"""
WITH request AS MATERIALIZED ({_REQUESTS})
SELECT live.id::text, live.state FROM deliveries_live AS live JOIN request ON request.id = live.request_id::text
"""
# A delivery with the kinds of its ledger rows.
_DELIVERIES = f"""
WITH request AS MATERIALIZED ({_REQUESTS})
SELECT delivery.id::text, delivery.request_id::text, delivery.state,
    count(charge.*) FILTER (WHERE charge.kind = 'hold'),
    count(charge.*) FILTER (WHERE charge.kind <> 'hold'),
    string_agg(charge.kind, '+' ORDER BY charge.phase)
FROM deliveries_finished AS delivery JOIN request ON request.id = delivery.request_id::text
LEFT JOIN ledger_charge AS charge ON charge.delivery_id = delivery.id
GROUP BY delivery.id, delivery.request_id, delivery.state
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A finished delivery and how often the ledger holds and closes it."""

    id: str
    request_id: str
    state: str
    holds: int
    closes: int
    kinds: str


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything Postgres has of an endpoint."""

    requests: list[tuple[str, str]]  # id, Idempotency-Key
    live: list[tuple[str, str]]  # delivery, state
    deliveries: list[Delivery]


def is_drained(database: psycopg.Connection[Any], slugs: Sequence[str]) -> bool:
    """Whether every delivery of these endpoints is over."""
    return not any(database.execute(_LIVE, {"slug": slug}).fetchall() for slug in slugs)


def stored(database: psycopg.Connection[Any], slug: str) -> Stored:
    """Reads it all, in one snapshot."""
    with database.transaction():
        database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return Stored(
            requests=database.execute(_REQUESTS, {"slug": slug}).fetchall(),
            live=database.execute(_LIVE, {"slug": slug}).fetchall(),
            deliveries=[Delivery(*row) for row in database.execute(_DELIVERIES, {"slug": slug}).fetchall()],
        )


def differences(said: Acknowledged, stored: Stored, seen: dict[str, set[str]]) -> list[str]:
    """What is not as it was promised, each with its id; pure. `seen`: target -> the ids that it got."""
    acknowledged = set(said.ids.values())
    requests = dict(stored.requests)
    by_key = Counter(key for _, key in stored.requests)
    found = list(said.wrong)
    found += [f"request {id_}: acknowledged, and not in Postgres" for id_ in sorted(acknowledged - requests.keys())]
    found += [f"request {id_}: in Postgres, and its key has another" for id_ in sorted(requests.keys() - acknowledged)]
    found += [f"key {key}: {count} requests" for key, count in sorted(by_key.items()) if count != 1]
    for target, ids in sorted(seen.items()):
        found += [f"request {id_}: never seen by {target}" for id_ in sorted(acknowledged - ids)]
        found += [f"request {id_}: seen by {target}, and not in Postgres" for id_ in sorted(ids - requests.keys())]
    for delivery in stored.deliveries:
        if (delivery.state, delivery.kinds) != ("delivered", "hold+settle"):
            found.append(f"delivery {delivery.id}: {delivery.state}, {delivery.kinds}")
    return found + unaccounted(stored, len(seen))


def unaccounted(stored: Stored, targets: int) -> list[str]:
    """Requests without one finished delivery for each target, and deliveries without one hold and one close; pure."""
    of_request = Counter(delivery.request_id for delivery in stored.deliveries)
    found = [f"delivery {id_}: still {state}" for id_, state in sorted(stored.live)]
    for id_, _ in sorted(stored.requests):
        if of_request[id_] != targets:
            found.append(f"request {id_}: {of_request[id_]} finished deliveries of {targets}")
    return found + [
        f"delivery {delivery.id}: the ledger has {delivery.kinds} and not one hold and one close"
        for delivery in stored.deliveries
        if (delivery.holds, delivery.closes) != (1, 1)
    ]
