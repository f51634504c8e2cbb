"""How many more deliveries a target takes at this moment, as SQL: what every claim and the pacer ask, in one text.

A target's rate (GCRA), its most in flight and its breaker are decided in Postgres, over all workers and with Redis
away. The numbers are exact only for who holds the target's row of `deliveries_targetstate` (LOCK) in a transaction
that began before: each statement of READ COMMITTED sees what was committed when it began, so a claim that follows the
lock counts what every claim before it took. `needs_lock` says where that matters; a target without limits and without
trouble needs none and has no row.
"""

_SENDING = (
    "(SELECT count(*) FROM deliveries_live AS other WHERE other.target_id = target.id AND other.state = 'sending')"
)
_IS_PAUSED = "state.paused_until > now() AND (target.has_breaker OR state.pause_reason <> 'breaker')"
_IS_TRIPPED = "state.breaker <> 'closed' AND target.has_breaker"
_RATE = "target.rate_amount::float8 / target.rate_window_seconds"
_BURST = "greatest(1, target.rate_amount / target.rate_window_seconds)"
"""What may go at once after a quiet time: a second's worth."""

# least() passes over NULLs, and CASE counts only where a limit asks for it.
_PLACES = f"""least(
        CASE WHEN {_IS_PAUSED} THEN 0 WHEN {_IS_TRIPPED} THEN greatest(0, 1 - {_SENDING}) END,
        CASE WHEN target.max_in_flight IS NOT NULL THEN greatest(0, target.max_in_flight - {_SENDING}) END,
        CASE WHEN target.rate_amount IS NOT NULL THEN greatest(0, floor(1e-6 + {_BURST}
            - extract(epoch FROM greatest(state.tat - now(), interval '0'))::float8 * {_RATE})) END
    )::bigint"""

_PAUSED = f"CASE WHEN {_IS_PAUSED} THEN extract(epoch FROM state.paused_until - now())::float8 END"
_FULL = f"""CASE WHEN target.rate_amount IS NOT NULL THEN
        extract(epoch FROM greatest(state.tat - now(), interval '0'))::float8 - ({_BURST} - 1) / ({_RATE}) END"""

ROOM = f"""
    SELECT wanted.target_id, target.id IS NULL AS is_deleted, target.is_enabled, target.version, target.url,
        target.timeout_seconds, {_RATE} AS rate, line.revision,
        {_PLACES} AS places, {_PAUSED} AS paused_seconds, {_FULL} AS full_seconds,
        target.rate_amount IS NOT NULL OR target.max_in_flight IS NOT NULL OR target.ordering_key <> ''
            OR coalesce({_IS_TRIPPED}, false) AS needs_lock,
        coalesce(state.breaker <> 'closed' OR state.paused_until IS NOT NULL OR state.failing_since IS NOT NULL
            OR state.consecutive_failures > 0 OR state.window_failed > 0, false) AS is_watched,
        target.ordering_key <> '' AS is_ordered,
        target.ordering_policy = 'block' AS is_blocking
    FROM wanted
    LEFT JOIN catalog_target AS target ON target.id = wanted.target_id
    LEFT JOIN catalog_endpoint AS endpoint ON endpoint.id = target.endpoint_id
    LEFT JOIN catalog_line AS line ON line.id = endpoint.line_id
    LEFT JOIN deliveries_targetstate AS state ON state.target_id = wanted.target_id
"""  # noqa: S608 (constants of this file)
"""A row for each target of a CTE `wanted(target_id)`: `places` is NULL where nothing limits it; `is_watched` where a
success would change its state (`breaker.is_clean`); `paused_seconds` and `full_seconds` until a pause ends, and until
its rate lets the next one go, below 0 where it may go now, NULL without a pause or rate. Everything is NULL or false of
a target that was deleted."""

LOCK = """
SELECT target_id FROM deliveries_targetstate WHERE target_id = ANY(%b::bigint[])
ORDER BY target_id FOR UPDATE SKIP LOCKED
"""
"""Those of the targets whose places this transaction may now give away; another has the rest for some milliseconds."""

ENSURE = """
INSERT INTO deliveries_targetstate (target_id) SELECT unnest(%b::bigint[]) ORDER BY 1 ON CONFLICT DO NOTHING
"""
"""Make the rows that LOCK locks."""

PAY = """
    UPDATE deliveries_targetstate AS state
    SET tat = greatest(state.tat, now()) + paid.count * make_interval(secs => 1 / paid.rate)
    FROM paid WHERE state.target_id = paid.target_id
"""
"""Charge the rate for a CTE `paid(target_id, count, rate)`, rate being deliveries a second."""


def is_behind(row: str) -> str:
    """SQL: whether another delivery of the row's ordering key goes first, or is under way. Two questions, each with an
    index that ends at the first answer: asked as one, a key with a long queue would be read whole for its head."""
    another = f"""EXISTS (
        SELECT 1 FROM deliveries_live AS ahead
        WHERE ahead.target_id = {row}.target_id AND ahead.ordering_key = {row}.ordering_key"""  # noqa: S608 (an alias)
    return f"({another} AND ahead.id < {row}.id) OR {another} AND ahead.state = 'sending' AND ahead.id <> {row}.id))"


def is_blocked(row: str) -> str:
    """SQL: whether one of the row's ordering key that went before it is in the failure queue."""
    return f"""EXISTS (
        SELECT 1 FROM deliveries_finished AS dead
        WHERE dead.target_id = {row}.target_id AND dead.ordering_key = {row}.ordering_key
            AND dead.state = 'dead' AND dead.id < {row}.id)"""  # noqa: S608 (an alias)
