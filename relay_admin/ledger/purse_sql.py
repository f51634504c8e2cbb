"""What Redis is to believe of money, from Postgres: SQL for whoever has a connection, which is the keeper in a worker.

A purse is granted what its account has, with its overdraft, less what deliveries hold; and, on top, what was taken
under generations that are open for it, since Redis counts that as spent by itself. So a call's row that is posted
changes nothing in Redis, and a generation that is closed is replaced by what Postgres has of it.

Whoever changes a version first takes the lock of `TURN`, in its transaction.
"""

from relay_admin.ledger.folding import IS_DURABLE, TURN

MOST_GRANTED = 8 * 10**15
"""Lua counts exactly up to 2^53."""
PAGE = 500

TAKE_TURN = f"SELECT pg_advisory_xact_lock({TURN}) WHERE {IS_DURABLE}"

_FUNDS = f"""
SELECT balance.account_id, balance.version, balance.closed_generation, least({MOST_GRANTED},
    balance.credit - balance.debit - balance.open_holds + account.overdraft_microcredits + coalesce((
        SELECT sum(taken) FROM ledger_taken AS taken
        WHERE taken.account_id = balance.account_id AND taken.generation > balance.closed_generation
    ), 0))::bigint
FROM ledger_balance AS balance JOIN ledger_account AS account ON account.id = balance.account_id
WHERE balance.is_purse
"""  # noqa: S608 (constants)
CHANGED = f"{_FUNDS} AND balance.version > %b ORDER BY balance.version LIMIT {PAGE}"
"""Account, version, the generation that is closed, and what is granted; of purses that changed after a version."""
ALL = f"{_FUNDS} AND balance.account_id > %b ORDER BY balance.account_id LIMIT {PAGE}"
"""The same of all purses, after an account."""

NEXT_GENERATION = "SELECT nextval('ledger_generation')::integer"
CLOSE_ALL = """
UPDATE ledger_balance SET closed_generation = %b::integer, version = nextval('ledger_version')
"""
"""Whatever was taken up to a generation is in balances alone from now on; also of accounts that have no purse now
and may have one again."""
LATEST_VERSION = "SELECT coalesce(max(version), 0) FROM ledger_balance WHERE is_purse"

TAKEN = "SELECT account_id, generation, taken FROM ledger_taken WHERE generation < %b::integer"
"""What was taken under generations before one."""
IS_UNFOLDED = """
SELECT EXISTS (SELECT 1 FROM ledger_delta WHERE generation <= %b::integer)
    OR EXISTS (SELECT 1 FROM ledger_chargedelta WHERE generation <= %b::integer)
"""
CLOSE = """
UPDATE ledger_balance AS balance
SET closed_generation = greatest(balance.closed_generation, closed.generation), version = nextval('ledger_version')
FROM unnest(%b::bigint[], %b::integer[]) AS closed(account_id, generation)
WHERE balance.account_id = closed.account_id
"""
FORGET_TAKEN = """
DELETE FROM ledger_taken AS taken USING ledger_balance AS balance
WHERE balance.account_id = taken.account_id AND taken.generation <= balance.closed_generation
"""
"""Rows that count for nothing any more."""

SAY = """
INSERT INTO ledger_keeping AS kept (id, at, closed_since, generation, open_generations, edges)
VALUES (1, now(), CASE WHEN %b::boolean THEN NULL ELSE now() END, %b::integer, %b::integer, %b::integer)
ON CONFLICT (id) DO UPDATE SET at = excluded.at, open_generations = excluded.open_generations, edges = excluded.edges,
    closed_since = CASE WHEN excluded.closed_since IS NOT NULL
        THEN coalesce(kept.closed_since, excluded.closed_since) END,
    generation = CASE WHEN excluded.closed_since IS NULL THEN excluded.generation ELSE kept.generation END
"""
"""How the purses are kept: whether they pay, the generation, how many are open, and how many edge processes live."""

IS_BEHIND = """
SELECT EXISTS (SELECT 1 FROM ledger_due WHERE tries < 5 AND not_before < now() - make_interval(secs => %b::float8))
"""
"""Whether calls have waited for so many seconds to be posted. Those that never are, it seems, are not waited for."""
