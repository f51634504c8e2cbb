"""The SQL that holds what waits for a disabled target, until somebody enables it and says what becomes of it.

What is due to such a target is held by the claim (`delivery/claims.py`), which never meets what waits.
"""

from relay_contract.intake import DeliveryState


def hold(chosen: str) -> str:
    """A statement that holds the waiting deliveries whose places (ctid) `chosen` selects and locks, and returns how
    many. The time for which they are held begins now."""
    return f"""
WITH chosen AS MATERIALIZED ({chosen}),
held AS (
    UPDATE deliveries_live AS live SET state = '{DeliveryState.HELD}', next_attempt_at = now()
    FROM chosen WHERE live.ctid = chosen.place
    RETURNING live.id
)
SELECT count(*) FROM held
"""  # noqa: S608 (constants of the contract)
