"""SQL that proofs share with the look-up of the rows behind what they find. Pure."""

from relay_admin.ledger.movements import UNFOLDED
from relay_contract.ledger import CALL_KINDS as _KINDS
from relay_contract.ledger import EntryKind

CALL_KINDS = ", ".join(f"{kind:d}" for kind in _KINDS)
IS_DUE = "EXISTS (SELECT 1 FROM ledger_due WHERE ledger_due.id = call.id)"
IS_CHARGED = "call.payer_id IS NOT NULL AND call.usage_source <> 'none'"
OLDEST = f"(SELECT received_at FROM traffic_call AS call WHERE NOT {IS_DUE} ORDER BY received_at LIMIT 1)"  # noqa: S608
"""Retention has taken the calls before, and of those that are due it takes none."""

_SINCE = "(%(since)s::date AT TIME ZONE 'UTC')"
COUNTED = f"""{IS_CHARGED} AND NOT {IS_DUE} AND received_at >= {_SINCE}
    AND received_at >= date_trunc('hour', {OLDEST}, 'UTC') + interval '1 hour'"""
"""Of a call: that it is in an hour, which is compared."""
HOURS = """(
    SELECT project_id, mode, hour, what, relay_key_id, target_id, charge, calls FROM ledger_usagehour
    UNION ALL
    SELECT project_id, mode, hour, what, relay_key_id, target_id, charge, calls FROM ledger_usagedelta
) AS used"""
SUMMED = f"what = 'call' AND hour >= {_SINCE} AND hour > date_trunc('hour', {OLDEST}, 'UTC')"
"""Of an hour: that it is compared."""
CHARGES = """(
    SELECT project_id, key_mode AS mode, date_trunc('hour', at, 'UTC') AS hour, 'delivery' AS what, 0 AS relay_key_id,
        target_id, micro_credits AS charge, delivery_id, replay, at
    FROM ledger_charge WHERE kind = 'settle'
    UNION ALL
    SELECT project_id, key_mode, date_trunc('hour', at, 'UTC'), 'accepted', coalesce(relay_key_id, 0), 0,
        micro_credits, delivery_id, replay, at
    FROM ledger_charge WHERE kind = 'hold' AND replay = 0 AND micro_credits > 0
) AS charged"""
"""What hours of deliveries are made of."""
BEGUN = f"SELECT what, min(hour) AS begun FROM {HOURS} WHERE what <> 'call' GROUP BY what"  # noqa: S608 (constants)
"""Since when there are such hours; the first may be only a part."""
WHOLE_HOUR = f"hour > begun AND hour >= {_SINCE}"

DAYS = f"""
detail AS (
    SELECT account_id, day, kind, sum(debit) AS debit, sum(credit) AS credit FROM (
        SELECT debit_id AS account_id, (at AT TIME ZONE 'UTC')::date AS day, kind, amount AS debit, 0 AS credit
        FROM ledger_entry
        UNION ALL
        SELECT credit_id, (at AT TIME ZONE 'UTC')::date, kind, 0, amount FROM ledger_entry
    ) AS side GROUP BY account_id, day, kind
), total AS (
    SELECT account_id, day, kind, sum(debit) AS debit, sum(credit) AS credit FROM (
        SELECT account_id, day, kind, debit, credit FROM ledger_day
        UNION ALL
        SELECT account_id, day, kind, debit, credit FROM ({UNFOLDED}) AS movement
    ) AS side WHERE kind <> {EntryKind.DELIVERIES:d} GROUP BY account_id, day, kind
)"""  # noqa: S608 (constants)
"""Each account's days, by their entries and as they were summed up."""
