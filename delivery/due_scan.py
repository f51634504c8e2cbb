"""Finds out which shards have due deliveries, without anybody's wake-up. One index probe per shard that has any."""

from delivery.database import Connection
from relay_contract.intake import DUE_STATES, MAX_SHARDS

INTERVAL_SECONDS = 1.0

_DUE = "state IN (" + ", ".join(f"'{state}'" for state in DUE_STATES) + ")"

# Walks from shard to shard instead of over rows, and meets shards of an older SHARDS too.
OLDEST = f"""
WITH RECURSIVE walk(shard) AS (
    (SELECT shard FROM deliveries_live WHERE {_DUE} AND shard < {MAX_SHARDS} ORDER BY shard LIMIT 1)
    UNION ALL
    SELECT (
        SELECT shard FROM deliveries_live
        WHERE {_DUE} AND shard > walk.shard AND shard < {MAX_SHARDS} ORDER BY shard LIMIT 1
    ) FROM walk WHERE walk.shard IS NOT NULL
)
SELECT walk.shard, extract(epoch FROM now() - oldest.next_attempt_at)::float8
FROM walk CROSS JOIN LATERAL (
    SELECT next_attempt_at FROM deliveries_live
    WHERE {_DUE} AND shard = walk.shard ORDER BY next_attempt_at LIMIT 1
) AS oldest
WHERE walk.shard IS NOT NULL
"""  # noqa: S608 (constants of the contract)


async def due_ages(connection: Connection) -> dict[int, float]:
    """Shard -> for how many seconds its oldest due delivery has waited. Raises DatabaseAway."""
    return {shard: age for shard, age in await connection.rows(OLDEST, ()) if age >= 0}
