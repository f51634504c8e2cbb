"""Whether the double-entry ledger is right: every row balances, modes sum up to nothing, and totals are their details.

Each proof is one statement, so one snapshot, and holds at any moment, also while the ledger is written and folded;
whoever wants all of them of one moment opens that first (`drifts.one_moment`). All entries are read, and the charges
and calls of the days that are asked for. What comes back is what differs, never a row that is right.
"""

import json
from datetime import date

from django.db import connection

from relay_admin.ledger.accounts import TOTALS
from relay_admin.ledger.drift_rows import with_rows
from relay_admin.ledger.drifts import MAX_SHOWN, Drift
from relay_admin.ledger.movements import UNFOLDED
from relay_admin.ledger.proof_sql import (
    BEGUN,
    CALL_KINDS,
    CHARGES,
    COUNTED,
    DAYS,
    HOURS,
    IS_CHARGED,
    IS_DUE,
    OLDEST,
    SUMMED,
    WHOLE_HOUR,
)
from relay_contract.ledger import REVENUE, EntryKind
from relay_contract.nouns import KeyMode

_START = f"(SELECT created_at FROM ledger_account WHERE id = {REVENUE[KeyMode.LIVE]})"  # noqa: S608 (a constant)
_PROOFS = {
    "unbalanced_entry": """
SELECT format('entry %%s %%s', source, kind), NULL::bigint, amount, jsonb_build_object('source', source)
FROM ledger_entry AS entry
WHERE amount <= 0 OR debit_id = credit_id OR (debit_id & 1) <> (credit_id & 1)
    OR NOT EXISTS (SELECT 1 FROM ledger_account WHERE id = entry.debit_id)
    OR NOT EXISTS (SELECT 1 FROM ledger_account WHERE id = entry.credit_id)
""",
    "mode_not_zero": f"""
SELECT 'mode ' || account.mode, 0::bigint, sum(total.credit - total.debit)::bigint,
    jsonb_build_object('mode', account.mode)
FROM ({TOTALS}) AS total JOIN ledger_account AS account ON account.id = total.account_id
GROUP BY account.mode HAVING sum(total.credit - total.debit) <> 0
""",  # noqa: S608 (constants)
    "entries_differ": f"""
WITH {DAYS}
SELECT format('account %%s on %%s, kind %%s, %%s', account_id, day, kind, side), expected::bigint, found::bigint,
    jsonb_build_object('account', account_id, 'day', day, 'kind', kind, 'side', side)
FROM detail FULL JOIN total USING (account_id, day, kind) CROSS JOIN LATERAL (VALUES
    ('debit', coalesce(detail.debit, 0), coalesce(total.debit, 0)),
    ('credit', coalesce(detail.credit, 0), coalesce(total.credit, 0))
) AS compared(side, expected, found)
WHERE expected <> found
""",  # noqa: S608 (constants)
    "balance_differs": """
SELECT format('account %%s, %%s', account_id, side), expected::bigint, found::bigint,
    jsonb_build_object('account', account_id, 'side', side)
FROM (
    SELECT account_id, sum(debit) AS debit, sum(credit) AS credit FROM ledger_day GROUP BY account_id
) AS detail FULL JOIN ledger_balance AS total USING (account_id) CROSS JOIN LATERAL (VALUES
    ('debit', coalesce(detail.debit, 0), coalesce(total.debit, 0)),
    ('credit', coalesce(detail.credit, 0), coalesce(total.credit, 0))
) AS compared(side, expected, found)
WHERE expected <> found
""",
    "deliveries_differ": f"""
WITH detail AS (
    SELECT project_id, key_mode AS mode, (at AT TIME ZONE 'UTC')::date AS day, sum(micro_credits) AS settled
    FROM ledger_charge
    WHERE kind = 'settle' AND at >= {_START} AND at >= (%(since)s::date AT TIME ZONE 'UTC') GROUP BY 1, 2, 3
), total AS (
    SELECT account.project_id, account.mode, day, sum(debit) AS settled FROM (
        SELECT account_id, day, kind, debit FROM ledger_day
        UNION ALL
        SELECT account_id, day, kind, debit FROM ({UNFOLDED}) AS movement
    ) AS side JOIN ledger_account AS account ON account.id = side.account_id AND account.kind = 'wallet'
    WHERE side.kind = {EntryKind.DELIVERIES:d} AND day >= %(since)s GROUP BY 1, 2, 3
)
SELECT format('project %%s, %%s, on %%s', project_id, mode, day), coalesce(detail.settled, 0)::bigint,
    coalesce(total.settled, 0)::bigint, jsonb_build_object('project', project_id, 'mode', mode, 'day', day)
FROM detail FULL JOIN total USING (project_id, mode, day)
WHERE coalesce(detail.settled, 0) <> coalesce(total.settled, 0)
""",  # noqa: S608 (constants)
    "holds_differ": f"""
WITH detail AS (
    SELECT project_id, key_mode AS mode, sum(credits) AS held FROM deliveries_live GROUP BY 1, 2
), total AS (
    SELECT account.project_id, account.mode, sum(side.open_holds) AS held FROM (
        SELECT account_id, open_holds FROM ledger_balance
        UNION ALL
        SELECT account_id, open_holds FROM ({UNFOLDED}) AS movement
    ) AS side JOIN ledger_account AS account ON account.id = side.account_id AND account.kind = 'wallet' GROUP BY 1, 2
)
SELECT format('project %%s, %%s', project_id, mode), coalesce(detail.held, 0)::bigint, coalesce(total.held, 0)::bigint,
    jsonb_build_object('project', project_id, 'mode', mode)
FROM detail FULL JOIN total USING (project_id, mode)
WHERE coalesce(detail.held, 0) <> coalesce(total.held, 0)
""",  # noqa: S608 (constants)
    "topup_differs": f"""
SELECT 'top-up ' || coalesce(topup.source, entry.source), topup.microcredits, coalesce(entry.amount, 0),
    jsonb_build_object('source', coalesce(topup.source, entry.source))
FROM (SELECT * FROM ledger_topup WHERE state IN ('paid', 'refunded')) AS topup
    FULL JOIN (SELECT * FROM ledger_entry WHERE kind = {EntryKind.TOPUP:d}) AS entry ON entry.source = topup.source
WHERE (topup.account_id, topup.microcredits) IS DISTINCT FROM (entry.credit_id, entry.amount)
""",  # noqa: S608 (constants)
    "refund_differs": f"""
SELECT 'refund ' || coalesce(refund.source, entry.source), refund.microcredits, coalesce(entry.amount, 0),
    jsonb_build_object('source', coalesce(refund.source, entry.source))
FROM (
    SELECT refund.source, refund.microcredits, topup.account_id FROM ledger_refund AS refund
        JOIN ledger_topup AS topup ON topup.id = refund.top_up_id WHERE refund.microcredits <> 0
) AS refund
    FULL JOIN (SELECT * FROM ledger_entry WHERE kind = {EntryKind.REFUND_TOPUP:d}) AS entry
        ON entry.source = refund.source
WHERE entry.source IS NULL OR refund.source IS NULL OR abs(refund.microcredits) <> entry.amount
    OR refund.account_id <> CASE WHEN refund.microcredits > 0 THEN entry.debit_id ELSE entry.credit_id END
""",  # noqa: S608 (constants)
    "code_differs": f"""
SELECT 'redemption ' || coalesce(redemption.source, entry.source), redemption.microcredits, coalesce(entry.amount, 0),
    jsonb_build_object('source', coalesce(redemption.source, entry.source))
FROM (
    SELECT redemption.source, redemption.account_id, code.microcredits FROM ledger_coderedemption AS redemption
        JOIN ledger_creditcode AS code ON code.id = redemption.code_id
) AS redemption
    FULL JOIN (SELECT * FROM ledger_entry WHERE kind = {EntryKind.CODE:d}) AS entry
        ON entry.source = redemption.source
WHERE (redemption.account_id, redemption.microcredits) IS DISTINCT FROM (entry.credit_id, entry.amount)
""",  # noqa: S608 (constants)
    "payment_unknown": """
SELECT format('%%s payment %%s', provider, payment), NULL::bigint, price_minor, '{}'::jsonb
FROM ledger_paymentevent AS event
WHERE outcome = 'unknown' AND NOT EXISTS (SELECT 1 FROM ledger_topup WHERE reference = event.payment)
""",
    "calls_differ": f"""
WITH posted AS (
    SELECT source AS id, sum(amount) AS amount FROM ledger_entry WHERE kind IN ({CALL_KINDS}) GROUP BY source
)
SELECT 'call ' || call.id, expected::bigint, coalesce(posted.amount, 0)::bigint, jsonb_build_object('source', call.id)
FROM traffic_call AS call LEFT JOIN posted ON posted.id = call.id CROSS JOIN LATERAL (
    SELECT CASE WHEN {IS_CHARGED} AND NOT {IS_DUE} THEN call.charge_microcredits ELSE 0 END AS expected
) AS charge
WHERE call.received_at >= (%(since)s::date AT TIME ZONE 'UTC') AND expected <> coalesce(posted.amount, 0)
""",  # noqa: S608 (constants)
    "entry_without_call": f"""
SELECT format('entry %%s %%s', source, kind), NULL::bigint, amount, jsonb_build_object('source', source)
FROM ledger_entry AS entry
WHERE kind IN ({CALL_KINDS}) AND at >= (%(since)s::date AT TIME ZONE 'UTC')
    AND source >= (lpad(to_hex((extract(epoch FROM {OLDEST}) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
    AND NOT EXISTS (SELECT 1 FROM traffic_call WHERE id = entry.source)
""",  # noqa: S608 (constants)
    "usage_differs": f"""
WITH detail AS (
    SELECT project_id, mode, sum(charge_microcredits) AS charge, count(*) AS calls FROM traffic_call AS call
    WHERE {COUNTED} GROUP BY 1, 2
), total AS (
    SELECT project_id, mode, sum(charge) AS charge, sum(calls) AS calls FROM {HOURS} WHERE {SUMMED} GROUP BY 1, 2
)
SELECT format('usage of project %%s, %%s, %%s', project_id, mode, side), expected::bigint, found::bigint,
    jsonb_build_object('project', project_id, 'mode', mode, 'side', side)
FROM detail FULL JOIN total USING (project_id, mode) CROSS JOIN LATERAL (VALUES
    ('charge', coalesce(detail.charge, 0), coalesce(total.charge, 0)),
    ('calls', coalesce(detail.calls, 0), coalesce(total.calls, 0))
) AS compared(side, expected, found)
WHERE expected <> found
""",  # noqa: S608 (constants)
    "charges_differ": f"""
WITH detail AS (
    SELECT project_id, mode, what, sum(charge) AS charge, count(*) AS calls
    FROM {CHARGES} JOIN ({BEGUN}) AS first USING (what) WHERE {WHOLE_HOUR} GROUP BY 1, 2, 3
), total AS (
    SELECT project_id, mode, what, sum(charge) AS charge, sum(calls) AS calls
    FROM {HOURS} JOIN ({BEGUN}) AS first USING (what) WHERE {WHOLE_HOUR} GROUP BY 1, 2, 3
)
SELECT format('usage of project %%s, %%s, %%s, %%s', project_id, mode, what, side), expected::bigint, found::bigint,
    jsonb_build_object('project', project_id, 'mode', mode, 'scope', what, 'side', side)
FROM detail FULL JOIN total USING (project_id, mode, what) CROSS JOIN LATERAL (VALUES
    ('charge', coalesce(detail.charge, 0), coalesce(total.charge, 0)),
    ('calls', coalesce(detail.calls, 0), coalesce(total.calls, 0))
) AS compared(side, expected, found)
WHERE expected <> found
""",  # noqa: S608 (constants)
}
"""By code: what it is about, the micro-credits that its details say, those that were found, where to look for rows."""


def drifts(since: date) -> list[Drift]:
    """The first of each proof, with the rows behind them. Deliveries are compared from `since` on, as far back as
    charges are kept, and so are calls, of which the first hour that is kept may be only a part."""
    found: list[Drift] = []
    with connection.cursor() as cursor:
        for code, statement in _PROOFS.items():
            cursor.execute(f"{statement} ORDER BY 1 LIMIT {MAX_SHOWN}", {"since": since})
            found += [
                Drift(code, subject, expected, actual, json.loads(about))
                for subject, expected, actual, about in cursor.fetchall()
            ]
    return with_rows(found, since)
