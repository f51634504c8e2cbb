"""The SQL that ends deliveries which nobody is sending: from the queue to history, with what they hold closed.

A worker's results end in `delivery/record.py`, whose statement has the attempt beside it.
"""

from relay_contract.credits import UNITS_SQL
from relay_contract.intake import DeadReason, DeliveryState

MOVED = (
    "id, request_id, project_id, target_id, shard, mode, is_shadow, is_compared, key_mode, revision, created_at,"
    " expires_at, ordering_key, body_bytes, credits, attempt_count, deferral_count, replay_count, replay_batch_id"
)
"""Columns that a delivery takes from the queue to history."""


def end(chosen: str, state: DeliveryState, reason: DeadReason, closes_as: str) -> str:
    """A statement that ends the deliveries whose places (ctid) `chosen` selects and locks, and returns how many.

    `closes_as` is SQL over `gone`: `settle` or `release`.
    """
    return f"""
WITH chosen AS MATERIALIZED ({chosen}),
gone AS (
    DELETE FROM deliveries_live AS live USING chosen WHERE live.ctid = chosen.place
    RETURNING live.*
),
finished AS (
    INSERT INTO deliveries_finished ({MOVED}, state, last_status, last_error, dead_reason, was_contacted, finished_at)
    SELECT {MOVED}, '{state}', last_status, last_error, '{reason}', was_contacted, now() FROM gone
),
closed AS (
    INSERT INTO ledger_charge
        (delivery_id, replay, phase, kind, request_id, project_id, target_id, key_mode, micro_credits, units)
    SELECT id, replay_count, 1, {closes_as}, request_id, project_id, target_id, key_mode, credits, {UNITS_SQL}
    FROM gone
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM gone
"""  # noqa: S608 (constants of the contract)


BY_CONTACT = "CASE WHEN was_contacted THEN 'settle' ELSE 'release' END"
RELEASE = "'release'"
