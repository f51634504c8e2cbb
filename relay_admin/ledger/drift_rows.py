"""Which rows are behind a drift: the entries of a sum, the deliveries of what is held, the calls of an hour.

One statement for all drifts of a kind, run only where there are any, in the moment that found them. Postgres keeps the
first MAX_ROWS of each and counts the others, so that no more than is shown is ever read here.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from django.db import connection

from relay_admin.ledger.budget_sql import SOURCE
from relay_admin.ledger.drifts import MAX_ROWS, Drift, Row
from relay_admin.ledger.movements import UNFOLDED
from relay_admin.ledger.proof_sql import BEGUN, CALL_KINDS, CHARGES, COUNTED, DAYS, HOURS, SUMMED, WHOLE_HOUR
from relay_contract.ledger import EntryKind
from relay_contract.nouns import KeyMode

ABOUT = {
    "account": "bigint",
    "day": "date",
    "delivery": "uuid",
    "generation": "integer",
    "kind": "smallint",
    "mode": "text",
    "owner": "bigint",
    "person": "bigint",
    "project": "bigint",
    "scope": "text",
    "side": "text",
    "source": "uuid",
    "start": "timestamptz",
}
"""What a drift may be about, and the type in SQL."""

_RECENT = "now() - interval '7 days'"
"""Of a generation that is open nothing is older."""
_RECENT_ID = f"(lpad(to_hex((extract(epoch FROM {_RECENT}) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid"

_OF_SOURCE = """
SELECT place, format('entry %%s %%s, from account %%s to %%s', entry.source, entry.kind, debit_id, credit_id),
    NULL::bigint, amount, at
FROM about JOIN ledger_entry AS entry ON entry.source = about.source
"""
# Entries are balanced by themselves, so totals are off: balances, days, or one side of the deliveries' settlements.
_OF_MODE = f"""
SELECT place, found.* FROM about JOIN LATERAL (
    WITH {DAYS}
    SELECT format('account %%s on %%s, kind %%s', account_id, day, kind),
        (coalesce(detail.credit, 0) - coalesce(detail.debit, 0))::bigint,
        (coalesce(total.credit, 0) - coalesce(total.debit, 0))::bigint, day::timestamptz
    FROM detail FULL JOIN total USING (account_id, day, kind)
    WHERE (account_id & 1) = (about.mode = '{KeyMode.TEST}')::int
        AND (detail.credit, detail.debit) IS DISTINCT FROM (total.credit, total.debit)
    UNION ALL
    SELECT format('balance of account %%s', account_id),
        (coalesce(days.credit, 0) - coalesce(days.debit, 0))::bigint,
        (coalesce(stored.credit, 0) - coalesce(stored.debit, 0))::bigint, NULL
    FROM (SELECT account_id, sum(debit) AS debit, sum(credit) AS credit FROM ledger_day GROUP BY 1) AS days
        FULL JOIN ledger_balance AS stored USING (account_id)
    WHERE (account_id & 1) = (about.mode = '{KeyMode.TEST}')::int
        AND (coalesce(days.credit, 0), coalesce(days.debit, 0))
            <> (coalesce(stored.credit, 0), coalesce(stored.debit, 0))
    UNION ALL
    SELECT format('deliveries on %%s, from wallets to revenue', day), sum(debit)::bigint, sum(credit)::bigint,
        day::timestamptz
    FROM (
        SELECT account_id, day, kind, debit, credit FROM ledger_day
        UNION ALL
        SELECT account_id, day, kind, debit, credit FROM ({UNFOLDED}) AS movement
    ) AS side
    WHERE kind = {EntryKind.DELIVERIES:d} AND (account_id & 1) = (about.mode = '{KeyMode.TEST}')::int
    GROUP BY day HAVING sum(debit) <> sum(credit)
) AS found ON true
"""  # noqa: S608 (constants)
_OF_DAY = """
SELECT place, format('entry %%s %%s', entry.source, entry.kind), NULL::bigint, amount, at
FROM about JOIN ledger_entry AS entry ON entry.kind = about.kind AND (at AT TIME ZONE 'UTC')::date = about.day
    AND (about.side = 'debit' AND debit_id = about.account OR about.side = 'credit' AND credit_id = about.account)
"""
_OF_ACCOUNT = """
SELECT place, format('day %%s, kind %%s', stored.day, stored.kind), NULL::bigint,
    CASE about.side WHEN 'debit' THEN debit ELSE credit END, stored.day::timestamptz
FROM about JOIN ledger_day AS stored ON stored.account_id = about.account
WHERE CASE about.side WHEN 'debit' THEN debit ELSE credit END <> 0
"""
_SETTLED = """
SELECT place, format('delivery %%s, replay %%s', delivery_id, charge.replay), NULL::bigint, micro_credits, at
FROM about JOIN ledger_charge AS charge ON charge.project_id = about.project AND charge.key_mode = about.mode
    AND charge.kind = 'settle' AND (at AT TIME ZONE 'UTC')::date = about.day
"""
# What a delivery of the queue says that it holds, and the holds of this replay that nothing closed.
_HELD = """
SELECT place, format('delivery %%s, replay %%s', id, replay), credits, held, coalesce(created_at, charged_at) FROM (
    SELECT place, id, replay_count AS replay, credits, created_at
    FROM about JOIN deliveries_live AS live ON live.project_id = about.project AND live.key_mode = about.mode
) AS queued FULL JOIN (
    SELECT place, delivery_id AS id, charge.replay, micro_credits AS held, at AS charged_at
    FROM about JOIN ledger_charge AS charge ON charge.project_id = about.project AND charge.key_mode = about.mode
        AND charge.phase = 0
    WHERE NOT EXISTS (
        SELECT 1 FROM ledger_charge AS closed
        WHERE (closed.delivery_id, closed.replay, closed.phase) = (charge.delivery_id, charge.replay, 1)
    )
) AS open USING (place, id, replay)
WHERE credits IS DISTINCT FROM held
"""
_CHARGES = """
SELECT place, format('%%s of replay %%s', charge.kind, charge.replay), NULL::bigint, micro_credits, at
FROM about JOIN ledger_charge AS charge ON charge.delivery_id = about.delivery
"""
# Each hour and key, and of hours and keys that have no row at all their calls.
_USED = f"""
SELECT place, found.* FROM about JOIN LATERAL (
    WITH called AS MATERIALIZED (
        SELECT id, date_trunc('hour', received_at, 'UTC') AS hour, coalesce(relay_key_id, 0) AS relay_key_id,
            received_at, CASE about.side WHEN 'charge' THEN charge_microcredits ELSE 1 END AS amount
        FROM traffic_call AS call
        WHERE {COUNTED} AND project_id = about.project AND call.mode = about.mode
    ), detail AS (
        SELECT hour, relay_key_id, sum(amount) AS amount FROM called GROUP BY 1, 2
    ), total AS (
        SELECT hour, relay_key_id, sum(CASE about.side WHEN 'charge' THEN charge ELSE calls END) AS amount
        FROM {HOURS} WHERE {SUMMED} AND project_id = about.project AND used.mode = about.mode GROUP BY 1, 2
    )
    SELECT format('hour %%s UTC, key %%s', to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), relay_key_id),
        coalesce(detail.amount, 0)::bigint, coalesce(total.amount, 0)::bigint, hour
    FROM detail FULL JOIN total USING (hour, relay_key_id)
    WHERE coalesce(detail.amount, 0) <> coalesce(total.amount, 0)
    UNION ALL
    SELECT format('call %%s', id), amount::bigint, NULL, received_at FROM called
    WHERE NOT EXISTS (
        SELECT 1 FROM total WHERE (total.hour, total.relay_key_id) = (called.hour, called.relay_key_id)
    )
) AS found ON true
"""  # noqa: S608 (constants)
# The same of deliveries: `scope` says whether when they were accepted or settled.
_CHARGED = f"""
SELECT place, found.* FROM about JOIN LATERAL (
    WITH charged AS MATERIALIZED (
        SELECT hour, relay_key_id, target_id, delivery_id, replay, at,
            CASE about.side WHEN 'charge' THEN charge ELSE 1 END AS amount
        FROM {CHARGES} JOIN ({BEGUN}) AS first USING (what)
        WHERE {WHOLE_HOUR} AND what = about.scope AND project_id = about.project AND charged.mode = about.mode
    ), detail AS (
        SELECT hour, relay_key_id, target_id, sum(amount) AS amount FROM charged GROUP BY 1, 2, 3
    ), total AS (
        SELECT hour, relay_key_id, target_id, sum(CASE about.side WHEN 'charge' THEN charge ELSE calls END) AS amount
        FROM {HOURS} JOIN ({BEGUN}) AS first USING (what)
        WHERE {WHOLE_HOUR} AND what = about.scope AND project_id = about.project AND used.mode = about.mode
        GROUP BY 1, 2, 3
    )
    SELECT format('hour %%s UTC, %%s', to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),
            CASE about.scope WHEN 'accepted' THEN 'key ' || relay_key_id ELSE 'target ' || target_id END),
        coalesce(detail.amount, 0)::bigint, coalesce(total.amount, 0)::bigint, hour
    FROM detail FULL JOIN total USING (hour, relay_key_id, target_id)
    WHERE coalesce(detail.amount, 0) <> coalesce(total.amount, 0)
    UNION ALL
    SELECT format('delivery %%s, replay %%s', delivery_id, replay), amount::bigint, NULL, at FROM charged
    WHERE NOT EXISTS (
        SELECT 1 FROM total WHERE (total.hour, total.relay_key_id, total.target_id)
            = (charged.hour, charged.relay_key_id, charged.target_id)
    )
) AS found ON true
"""  # noqa: S608 (constants)
_SPENT = f"""
SELECT place, format('call %%s', call.id), charge_microcredits, NULL::bigint, received_at
FROM about JOIN traffic_call AS call ON call.payer_id = about.account AND call.generation = about.generation
WHERE received_at >= {_RECENT}
UNION ALL
SELECT place, format('delivery %%s, replay %%s', delivery_id, charge.replay), micro_credits, NULL, at
FROM about JOIN ledger_account AS account ON account.id = about.account
    JOIN ledger_charge AS charge ON charge.project_id = account.project_id AND charge.key_mode = account.mode
        AND charge.generation = about.generation
WHERE delivery_id >= {_RECENT_ID} AND account.kind = 'wallet'
UNION ALL
SELECT place, format('entry %%s %%s', entry.source, entry.kind), amount, NULL, at
FROM about JOIN ledger_entry AS entry ON entry.debit_id = about.account AND entry.generation = about.generation
WHERE entry.kind NOT IN ({CALL_KINDS})
"""  # noqa: S608 (constants)
_GRANTED = """
SELECT place, part.what, part.amount, NULL::bigint, NULL::timestamptz
FROM about JOIN ledger_balance AS balance ON balance.account_id = about.account
    JOIN ledger_account AS account ON account.id = about.account
    CROSS JOIN LATERAL (VALUES
        ('balance', balance.credit - balance.debit),
        ('held for deliveries', -balance.open_holds),
        ('overdraft', account.overdraft_microcredits)
    ) AS part(what, amount)
UNION ALL
SELECT place, format('taken under generation %%s', taken.generation), taken.taken, NULL, NULL
FROM about JOIN ledger_balance AS balance ON balance.account_id = about.account
    JOIN ledger_taken AS taken ON taken.account_id = about.account AND taken.generation > balance.closed_generation
"""
_BUDGET = f"""
SELECT place, format('hour %%s UTC, key %%s', to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), relay_key_id),
    sum(charge), NULL::bigint, hour
FROM about LEFT JOIN access_authorization AS given ON about.scope = 'grant' AND given.id = about.owner
    JOIN LATERAL (
        SELECT date_trunc('hour', each.hour, 'UTC') AS hour, relay_key_id, charge FROM ({SOURCE}) AS each
        WHERE each.hour >= about.start AND CASE about.scope
            WHEN 'key' THEN relay_key_id = about.owner
            WHEN 'project' THEN project_id = about.owner
            WHEN 'grant' THEN (user_id, application_id, relay_key_id) = (given.user_id, given.application_id, 0)
            WHEN 'user' THEN (project_id, user_id) = (about.owner, about.person)
            WHEN 'share' THEN (payer_id, user_id) = (about.owner, about.person)
        END
    ) AS used ON true
GROUP BY place, hour, relay_key_id
"""  # noqa: S608 (constants)

_STATEMENTS = {
    **dict.fromkeys(
        ("unbalanced_entry", "topup_differs", "refund_differs", "code_differs", "calls_differ", "entry_without_call"),
        _OF_SOURCE,
    ),
    "mode_not_zero": _OF_MODE,
    "entries_differ": _OF_DAY,
    "balance_differs": _OF_ACCOUNT,
    "deliveries_differ": _SETTLED,
    "holds_differ": _HELD,
    **dict.fromkeys(("no_hold", "not_closed", "closed_while_live", "held_for_nothing"), _CHARGES),
    "usage_differs": _USED,
    "charges_differ": _CHARGED,
    "spent_differs": _SPENT,
    "grant_differs": _GRANTED,
    "budget_differs": _BUDGET,
}
"""By code: the drift's place, what the row is, two figures, and when."""

_FIRST = f"""
WITH about AS (
    SELECT * FROM ROWS FROM (jsonb_to_recordset(%(about)s::jsonb) AS ({", ".join(map(" ".join, ABOUT.items()))}))
        WITH ORDINALITY AS about({", ".join(ABOUT)}, place)
), line(place, what, expected, found, at) AS ({{rows}})
SELECT place, what, expected::bigint, found::bigint, at, total FROM (
    SELECT *, count(*) OVER (PARTITION BY place) AS total, row_number() OVER (
        PARTITION BY place ORDER BY expected IS NULL OR found IS NULL, at DESC NULLS LAST, what DESC
    ) AS number FROM line
) AS ranked WHERE number <= {MAX_ROWS} ORDER BY place, number
"""  # noqa: S608 (constants)


def with_rows(drifts: Sequence[Drift], since: date | None = None) -> list[Drift]:
    """The same drifts, each with the first rows behind it, where they can be told. `since` as for the proofs; those of
    purses need none."""
    found = list(drifts)
    for code in {drift.code for drift in drifts} & _STATEMENTS.keys():
        places = [place for place, drift in enumerate(drifts) if drift.code == code]
        for place, drift in zip(places, _each_with_rows(code, [drifts[place] for place in places], since), strict=True):
            found[place] = drift
    return found


def _each_with_rows(code: str, drifts: Sequence[Drift], since: date | None) -> list[Drift]:
    rows: list[list[Row]] = [[] for _ in drifts]
    counts = [0] * len(drifts)
    about = json.dumps([dict(drift.about) for drift in drifts])
    with connection.cursor() as cursor:
        cursor.execute(_FIRST.format(rows=_STATEMENTS[code]), {"about": about, "since": since})
        for place, what, expected, found, at, total in cursor.fetchall():
            rows[place - 1].append(Row(what, expected, found, at))
            counts[place - 1] = total
    return [
        replace(drift, rows=tuple(own), row_count=count) for drift, own, count in zip(drifts, rows, counts, strict=True)
    ]
