"""What of budgets, caps of authorizations and users' shares of pools was used in their current period, as Redis is to
count on when it has lost it. SQL for whoever has a connection. Reads hours and no calls, but those that are due.
"""

_MOST_DUE = 100_000
"""Calls that are due are read up to here; there are as many where nothing was posted for minutes."""

USED = f"""
WITH used AS MATERIALIZED (
    SELECT project_id, relay_key_id, user_id, application_id, payer_id, date_trunc('day', hour, 'UTC') AS day,
        sum(charge) AS charge
    FROM (
        SELECT project_id, relay_key_id, user_id, application_id, payer_id, hour, charge FROM ledger_usagehour
        UNION ALL
        SELECT project_id, relay_key_id, user_id, application_id, payer_id, hour, charge FROM ledger_usagedelta
        UNION ALL
        SELECT call.project_id, coalesce(call.relay_key_id, 0), coalesce(call.user_id, 0),
            coalesce(call.application_id, 0), coalesce(call.payer_id, 0), call.received_at, call.charge_microcredits
        FROM (SELECT id FROM ledger_due ORDER BY id LIMIT {_MOST_DUE}) AS due JOIN traffic_call AS call USING (id)
    ) AS each
    WHERE hour >= least(date_trunc('month', now(), 'UTC'), date_trunc('week', now(), 'UTC'))
    GROUP BY 1, 2, 3, 4, 5, 6
), budget AS (
    SELECT 'project:' || id AS owner, budget->>'period' AS period, id AS project_id, NULL::bigint AS relay_key_id
    FROM catalog_project WHERE budget->>'period' IN ('day', 'week', 'month')
    UNION ALL
    SELECT 'key:' || id, budget->>'period', project_id, id
    FROM access_relaykey WHERE budget->>'period' IN ('day', 'week', 'month')
), spent AS (
    SELECT 'b' AS kind, budget.owner, budget.period, sum(used.charge) AS charge
    FROM budget JOIN used ON used.project_id = budget.project_id
        AND used.relay_key_id = coalesce(budget.relay_key_id, used.relay_key_id)
        AND used.day >= date_trunc(budget.period, now(), 'UTC')
    GROUP BY budget.owner, budget.period
    UNION ALL
    SELECT 'b', 'user:' || used.project_id || '.' || used.user_id, budget.period, sum(used.charge)
    FROM used JOIN catalog_project AS project ON project.id = used.project_id
        LEFT JOIN access_membership AS own ON own.project_id = used.project_id AND own.user_id = used.user_id
            AND own.has_own_budget
        CROSS JOIN LATERAL (
            SELECT CASE WHEN own.id IS NULL THEN project.user_budget ELSE own.budget END ->> 'period' AS period
        ) AS budget
    WHERE used.user_id <> 0 AND budget.period IN ('day', 'week', 'month')
        AND used.day >= date_trunc(budget.period, now(), 'UTC')
    GROUP BY used.project_id, used.user_id, budget.period
    UNION ALL
    SELECT 'b', 'grant:' || authorized.id, 'month', sum(used.charge)
    FROM access_authorization AS authorized JOIN used ON used.user_id = authorized.user_id
        AND used.application_id = authorized.application_id AND used.relay_key_id = 0
        AND used.day >= date_trunc('month', now(), 'UTC')
    WHERE authorized.cap_microcredits IS NOT NULL GROUP BY authorized.id
    UNION ALL
    SELECT 'c', used.payer_id || ':' || used.user_id, 'month', sum(used.charge)
    FROM used JOIN ledger_account AS account ON account.id = used.payer_id AND account.kind = 'pool'
    WHERE used.user_id <> 0 AND used.day >= date_trunc('month', now(), 'UTC')
    GROUP BY used.payer_id, used.user_id
)
SELECT kind, owner, period, (extract(epoch FROM date_trunc(period, now(), 'UTC')) * 1000)::bigint, charge::bigint
FROM spent
"""  # noqa: S608 (a constant)
"""Kind and owner as in the purse's key, period, its first moment in ms, and micro-credits."""
