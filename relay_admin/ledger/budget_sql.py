"""What of budgets and of users' shares of a pool was used in their current period, as Redis is to count on when it has
lost it. SQL for whoever has a connection."""

_USED = """
    SELECT project_id, relay_key_id, hour, charge FROM ledger_usagehour
    UNION ALL
    SELECT project_id, relay_key_id, hour, charge FROM ledger_usagedelta
    UNION ALL
    SELECT call.project_id, coalesce(call.relay_key_id, 0), call.received_at, call.charge_microcredits
    FROM ledger_due AS due JOIN traffic_call AS call ON call.id = due.id
"""
_BUDGET = f"""
SELECT '{{scope}}:' || owner.id, owner.budget->>'period', (extract(epoch FROM period.start) * 1000)::bigint,
    sum(used.charge)::bigint
FROM {{table}} AS owner
    CROSS JOIN LATERAL (SELECT date_trunc(owner.budget->>'period', now(), 'UTC') AS start) AS period
    JOIN ({_USED}) AS used ON used.{{column}} = owner.id AND used.hour >= period.start
WHERE owner.budget->>'period' IN ('day', 'week', 'month')
GROUP BY owner.id, period.start
"""  # noqa: S608 (constants)

BUDGETS = " UNION ALL ".join(
    _BUDGET.format(scope=scope, table=table, column=column)
    for scope, table, column in (
        ("project", "catalog_project", "project_id"),
        ("key", "access_relaykey", "relay_key_id"),
    )
)
"""Owner as in the purse's key, period, its first moment in ms, and micro-credits."""

CAPS = """
SELECT call.payer_id || ':' || call.user_id, 'month', (extract(epoch FROM period.start) * 1000)::bigint,
    sum(call.charge_microcredits)::bigint
FROM catalog_project AS project
    CROSS JOIN LATERAL (SELECT date_trunc('month', now(), 'UTC') AS start) AS period
    JOIN traffic_call AS call ON call.project_id = project.id AND call.received_at >= period.start
        AND call.payer_id IN (project.live_pool_id, project.test_pool_id)
WHERE project.pool_cap_microcredits > 0 AND call.user_id IS NOT NULL
GROUP BY call.payer_id, call.user_id, period.start
"""
"""The same of users' shares of pools."""
