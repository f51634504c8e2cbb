"""Adds deltas to balances and days: SQL for whoever has a connection. A worker does it each second.

Each statement is a transaction, so one that is killed has done nothing; a balance is what was folded and what was not,
and a fold changes neither sum. Rows are written in one order, and only one fold is under way: another finds the lock
taken and folds nothing.
"""

from relay_admin.ledger.locks import Lock
from relay_admin.ledger.movements import MOVEMENTS
from relay_admin.ledger.usage import DIMENSIONS, SUMS

MOST = 20_000
"""Deltas of each book in one statement."""
TURN = int(Lock.BALANCES)
IS_DURABLE = "set_config('synchronous_commit', 'on', true) = 'on'"
"""Makes its transaction wait for the disk, always true. What purses in Redis are told of must outlive a crash of
Postgres: else a generation would be closed there and open here, and its calls be granted a second time."""

OPEN_ACCOUNTS = """
SELECT ledger_open_accounts(project_id) FROM (
    SELECT DISTINCT project_id FROM ledger_chargedelta AS charge WHERE NOT EXISTS (
        SELECT 1 FROM ledger_account AS account WHERE account.kind = 'wallet' AND account.mode = charge.key_mode
            AND account.project_id = charge.project_id
    ) ORDER BY project_id
) AS missing
"""
"""Makes the accounts of projects that were gone before there were accounts, and whose deliveries were not."""

FOLD = f"""
WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock({TURN}) AS is_ours WHERE {IS_DURABLE}),
charge AS (
    DELETE FROM ledger_chargedelta WHERE id = ANY(ARRAY(
        SELECT delta.id FROM ledger_chargedelta AS delta
            JOIN ledger_account AS account ON account.kind = 'wallet' AND account.mode = delta.key_mode
                AND account.project_id = delta.project_id
        WHERE (SELECT is_ours FROM turn) ORDER BY delta.id LIMIT {MOST}
    )) RETURNING *
),
entry AS (
    DELETE FROM ledger_delta WHERE id = ANY(ARRAY(
        SELECT id FROM ledger_delta WHERE (SELECT is_ours FROM turn) ORDER BY id LIMIT {MOST}
    )) RETURNING *
),
moved AS MATERIALIZED ({MOVEMENTS.format(entries="entry", charges="charge")}),
days AS (
    INSERT INTO ledger_day AS stored (account_id, day, kind, debit, credit, entries)
    SELECT account_id, day, kind, sum(debit), sum(credit), sum(entries) FROM moved
    GROUP BY account_id, day, kind HAVING sum(entries) > 0 ORDER BY account_id, day, kind
    ON CONFLICT (account_id, day, kind) DO UPDATE SET debit = stored.debit + excluded.debit,
        credit = stored.credit + excluded.credit, entries = stored.entries + excluded.entries
),
balances AS (
    INSERT INTO ledger_balance AS stored (account_id, debit, credit, open_holds, folded_at, version)
    SELECT account_id, sum(debit), sum(credit), sum(open_holds), clock_timestamp(), nextval('ledger_version')
    FROM moved GROUP BY account_id ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE SET debit = stored.debit + excluded.debit,
        credit = stored.credit + excluded.credit, open_holds = stored.open_holds + excluded.open_holds,
        folded_at = excluded.folded_at, version = excluded.version
),
takings AS (
    INSERT INTO ledger_taken AS stored (account_id, generation, taken)
    SELECT account_id, generation, sum(taken) FROM moved WHERE generation IS NOT NULL
    GROUP BY account_id, generation ORDER BY account_id, generation
    ON CONFLICT (account_id, generation) DO UPDATE SET taken = stored.taken + excluded.taken
)
SELECT (SELECT count(*) FROM charge), (SELECT count(*) FROM entry)
"""  # noqa: S608 (constants)
"""Returns how many deltas of each book it folded: MOST of one says that there may be more."""

FOLD_USAGE = f"""
WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock({Lock.USAGE:d}) AS is_ours),
delta AS (
    DELETE FROM ledger_usagedelta WHERE id = ANY(ARRAY(
        SELECT id FROM ledger_usagedelta WHERE (SELECT is_ours FROM turn) ORDER BY id LIMIT {MOST}
    )) RETURNING *
),
hours AS (
    INSERT INTO ledger_usagehour AS stored ({", ".join((*DIMENSIONS, *SUMS))})
    SELECT {", ".join(DIMENSIONS)}, {", ".join(f"sum({name})" for name in SUMS)} FROM delta
    GROUP BY {", ".join(DIMENSIONS)} ORDER BY {", ".join(DIMENSIONS)}
    ON CONFLICT ({", ".join(DIMENSIONS)})
    DO UPDATE SET {", ".join(f"{name} = stored.{name} + excluded.{name}" for name in SUMS)}
),
uses AS (
    INSERT INTO ledger_keyuse AS stored (relay_key_id, last_on)
    SELECT relay_key_id, max((hour AT TIME ZONE 'UTC')::date) FROM delta WHERE relay_key_id > 0
    GROUP BY relay_key_id ORDER BY relay_key_id
    ON CONFLICT (relay_key_id) DO UPDATE SET last_on = excluded.last_on WHERE stored.last_on < excluded.last_on
)
SELECT count(*) FROM delta
"""  # noqa: S608 (constants)
"""The same for the sums by the hour: how many it folded."""
