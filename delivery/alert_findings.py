"""What alert rules look for: one statement a kind, run only where somebody has a rule of it.

Each gives (rule, endpoint to tell, subject, details) for everything that is wrong at the moment, at most MOST_FINDINGS.
Targets of endpoints that alerts go to are looked at by none of them: an alert that fails must not raise another.
Reads are bounded: index ranges of the queue, of the dead, of refused calls, and nothing of what went well.
"""

from relay_admin.deliveries.storage import MISSING
from relay_contract.intake import SYNC_SHARDS
from relay_contract.nouns import EndpointAuth, SignaturePreset

MOST_FINDINGS = 200
OLDEST_ROWS = 2_000
"""Of the queue are looked at for its age."""
MOST_COUNTED = 10_000
"""Dead deliveries, refused calls and calls without a price are counted up to here."""
MOST_MODELS = 10
"""Named in one alert."""
MOST_REASON = 500
"""Characters of why a draft could not be published."""
MOST_DRIFTS, MOST_DRIFT_ROWS = 5, 3
"""Named in one alert, and of each."""
CLOSED_SECONDS = 30
"""That money is closed, or nobody keeps the purses, before anybody is told."""

_RULES = "deliveries_alertrule r"
_WINDOW = "make_interval(secs => least(greatest(r.window_seconds, 1), 86400))"
_OF_ALERTS = "EXISTS (SELECT 1 FROM deliveries_alertrule own WHERE own.endpoint_id = {})"
_TARGET = f"""
    JOIN catalog_endpoint e ON e.id = t.endpoint_id AND NOT {_OF_ALERTS.format("e.id")}
    JOIN catalog_line l ON l.id = e.line_id
    JOIN catalog_project p ON p.id = l.project_id AND p.id = coalesce(r.project_id, p.id)
"""
_NAMES = "'project', p.slug, 'line', l.slug, 'endpoint', e.slug, 'target', t.name, 'targetId', t.id"


def _of_target(kind: str, source: str, details: str, condition: str) -> str:
    return f"""
SELECT r.id, r.endpoint_id, 'target:' || t.id, jsonb_build_object({_NAMES}, {details})
FROM {_RULES} JOIN catalog_target t ON t.id = coalesce(r.target_id, t.id) {_TARGET} {source}
WHERE r.is_enabled AND r.kind = '{kind}' AND {condition}
ORDER BY t.id LIMIT {MOST_FINDINGS}
"""  # noqa: S608 (constants)


_FAILING = _of_target(
    "target_failing",
    "JOIN deliveries_targetstate s ON s.target_id = t.id",
    "'failingSince', s.failing_since, 'consecutiveFailures', s.consecutive_failures",
    f"s.failing_since <= now() - {_WINDOW} AND s.consecutive_failures >= r.threshold",
)
_DISABLED = _of_target(
    "target_disabled", "", "'reason', t.disabled_reason", "NOT t.is_enabled AND t.disabled_reason NOT IN ('', 'gone')"
)
_GONE = _of_target("target_gone", "", "'goneAt', t.gone_at", "NOT t.is_enabled AND t.gone_at IS NOT NULL")
_BACKLOG = _of_target(
    "backlog_age",
    f"""JOIN (
        SELECT target_id, min(next_attempt_at) AS due_at FROM (
            SELECT target_id, next_attempt_at FROM deliveries_live
            WHERE state = 'pending' AND shard < {SYNC_SHARDS[0]} AND next_attempt_at < now()
            ORDER BY next_attempt_at LIMIT {OLDEST_ROWS}
        ) AS oldest GROUP BY target_id
    ) AS due ON due.target_id = t.id""",  # noqa: S608 (constants)
    "'ageSeconds', extract(epoch FROM now() - due.due_at)::int",
    "due.due_at < now() - make_interval(secs => greatest(r.threshold, 1))",
)
_GROWTH = f"""
SELECT r.id, r.endpoint_id, 'project:' || p.id,
    jsonb_build_object(
        'project', p.slug, 'targetId', r.target_id, 'dead', dead.count, 'windowSeconds', r.window_seconds
    )
FROM {_RULES} JOIN catalog_project p ON p.id = coalesce(r.project_id, p.id)
CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT 1 FROM deliveries_finished f JOIN catalog_target t ON t.id = f.target_id
        WHERE f.project_id = p.id AND f.state = 'dead' AND f.finished_at > now() - {_WINDOW}
            AND f.target_id = coalesce(r.target_id, f.target_id) AND NOT {_OF_ALERTS.format("t.endpoint_id")}
        LIMIT {MOST_COUNTED}
    ) AS counted
) AS dead
WHERE r.is_enabled AND r.kind = 'failure_queue_growth' AND dead.count >= greatest(r.threshold, 1)
ORDER BY p.id LIMIT {MOST_FINDINGS}
"""  # noqa: S608 (constants)
# Refused calls stand beside few others in their index; the bound of the id prunes to a day or two.
_MISCONFIGURED = f"""
SELECT r.id, r.endpoint_id, 'endpoint:' || e.id,
    jsonb_build_object('project', p.slug, 'line', l.slug, 'endpoint', e.slug, 'refusedCalls', refused.count)
FROM {_RULES} JOIN catalog_project p ON p.id = coalesce(r.project_id, p.id)
CROSS JOIN LATERAL (
    SELECT endpoint_id, count(*) FROM (
        SELECT endpoint_id FROM deliveries_request
        WHERE project_id = p.id AND status IN (500, 503) AND error = 'endpoint_misconfigured'
            AND id >= %b AND received_at > now() - {_WINDOW}
        LIMIT {MOST_COUNTED}
    ) AS counted GROUP BY endpoint_id
) AS refused
JOIN catalog_endpoint e ON e.id = refused.endpoint_id AND NOT {_OF_ALERTS.format("e.id")}
JOIN catalog_line l ON l.id = e.line_id
WHERE r.is_enabled AND r.kind = 'signature_misconfigured' AND refused.count >= greatest(r.threshold, 1)
ORDER BY e.id LIMIT {MOST_FINDINGS}
"""  # noqa: S608 (constants)

# What no call has to show: the same endpoints by their rows, which are few. The edge leaves out a row whose `auth` it
# does not know, so its calls are refused as to an unknown address.
_UNCHECKABLE = f"""
SELECT r.id, r.endpoint_id, 'endpoint:' || e.id,
    jsonb_build_object('project', p.slug, 'line', l.slug, 'endpoint', e.slug, 'refusedCalls', 0)
FROM {_RULES} JOIN catalog_project p ON p.id = coalesce(r.project_id, p.id)
JOIN catalog_line l ON l.project_id = p.id AND l.is_enabled
JOIN catalog_endpoint e ON e.line_id = l.id AND e.is_enabled AND NOT {_OF_ALERTS.format("e.id")}
WHERE r.is_enabled AND r.kind = 'signature_misconfigured' AND e.auth <> '{EndpointAuth.RELAY_KEY}'
    AND (e.sealed_signature_secret = '' OR NOT e.signature_preset = ANY('{{{",".join(SignaturePreset)}}}')
        OR NOT e.auth = ANY('{{{",".join(EndpointAuth)}}}'))
ORDER BY e.id LIMIT {MOST_FINDINGS}
"""  # noqa: S608 (constants)

# Of a draft that could not be published at its time the reason stays until somebody edits, plans or discards it.
_PUBLISH = f"""
SELECT r.id, r.endpoint_id, 'line:' || l.id, jsonb_build_object('project', p.slug, 'line', l.slug, 'lineId', l.id,
    'publishAt', d.publish_at, 'reason', left(d.publish_error, {MOST_REASON}))
FROM {_RULES} JOIN catalog_linedraft d ON d.publish_error <> '' JOIN catalog_line l ON l.id = d.line_id
JOIN catalog_project p ON p.id = l.project_id AND p.id = coalesce(r.project_id, p.id)
WHERE r.is_enabled AND r.kind = 'publish_failed'
ORDER BY l.id LIMIT {MOST_FINDINGS}
"""  # noqa: S608 (constants)
_PARTITIONS = f"""
SELECT r.id, r.endpoint_id, 'storage', jsonb_build_object('tables', missing.tables)
FROM {_RULES} CROSS JOIN (
    SELECT jsonb_agg(DISTINCT name) AS tables FROM ({MISSING}) AS each
) AS missing
WHERE r.is_enabled AND r.kind = 'partition_missing' AND missing.tables IS NOT NULL
"""  # noqa: S608 (constants)

# By the partial index over calls that used something nobody knows a price of, which are few or the matter.
_UNPRICED = f"""
SELECT r.id, r.endpoint_id, 'project:' || p.id,
    jsonb_build_object('project', p.slug, 'calls', sum(unpriced.count), 'windowSeconds', r.window_seconds,
        'models', (array_agg(unpriced.model ORDER BY unpriced.count DESC, unpriced.model))[:{MOST_MODELS}])
FROM {_RULES} CROSS JOIN LATERAL (
    SELECT project_id, model, count(*) FROM (
        SELECT project_id, coalesce(nullif(model, ''), requested_model) AS model FROM traffic_call
        WHERE cost_nanousd IS NULL AND usage_source <> 'none' AND received_at > now() - {_WINDOW}
            AND project_id = coalesce(r.project_id, project_id)
        LIMIT {MOST_COUNTED}
    ) AS counted GROUP BY project_id, model
) AS unpriced
JOIN catalog_project p ON p.id = unpriced.project_id
WHERE r.is_enabled AND r.kind = 'unpriced_calls'
GROUP BY r.id, p.id HAVING sum(unpriced.count) >= greatest(r.threshold, 1)
ORDER BY p.id LIMIT {MOST_FINDINGS}
"""  # noqa: S608 (constants)

# The queue is short where all is well, and read from its oldest end.
_POSTING = f"""
SELECT r.id, r.endpoint_id, 'ledger',
    jsonb_build_object('calls', late.calls, 'ageSeconds', extract(epoch FROM now() - late.since)::int)
FROM {_RULES} CROSS JOIN LATERAL (
    SELECT count(*) AS calls, min(not_before) AS since FROM (
        SELECT not_before FROM ledger_due ORDER BY id LIMIT {OLDEST_ROWS}
    ) AS oldest WHERE not_before < now() - make_interval(secs => greatest(r.threshold, 1))
) AS late
WHERE r.is_enabled AND r.kind = 'posting_late' AND late.calls > 0
"""  # noqa: S608 (constants)
_UNPOSTABLE = f"""
SELECT r.id, r.endpoint_id, 'ledger',
    jsonb_build_object('calls', stuck.calls, 'callId', first.id, 'reason', first.error, 'tries', first.tries)
FROM {_RULES} CROSS JOIN LATERAL (
    SELECT count(*) AS calls FROM (SELECT 1 FROM ledger_due WHERE tries >= 5 LIMIT {MOST_COUNTED}) AS counted
) AS stuck JOIN LATERAL (SELECT id, error, tries FROM ledger_due WHERE tries >= 5 ORDER BY id LIMIT 1) AS first ON true
WHERE r.is_enabled AND r.kind = 'unpostable'
"""  # noqa: S608 (constants)

# Of what was folded: a second old at most, and one row an account.
_BALANCE = """
FROM {rules} JOIN ledger_account a ON a.kind IN ('wallet', 'pool') AND a.project_id IS NOT NULL
JOIN catalog_project p ON p.id = a.project_id AND p.id = coalesce(r.project_id, p.id)
JOIN ledger_balance b ON b.account_id = a.id
WHERE r.is_enabled AND r.kind = '{kind}' AND {condition}
ORDER BY a.id LIMIT {most}
"""
_LEFT = "(b.credit - b.debit - b.open_holds)"
_OF_ACCOUNT = f"""
SELECT r.id, r.endpoint_id, 'account:' || a.id, jsonb_build_object('project', p.slug, 'accountId', a.id,
    'account', a.kind, 'mode', a.mode, 'available', {_LEFT}, 'overdraft', a.overdraft_microcredits,
    'lowBalance', a.low_balance_microcredits)
"""
_LOW_BALANCE = _OF_ACCOUNT + _BALANCE.format(
    rules=_RULES, kind="low_balance", condition=f"{_LEFT} < a.low_balance_microcredits", most=MOST_FINDINGS
)
_WALLET_EMPTY = _OF_ACCOUNT + _BALANCE.format(
    rules=_RULES,
    kind="wallet_empty",
    condition=f"b.is_purse AND b.credit > 0 AND {_LEFT} + a.overdraft_microcredits <= 0",
    most=MOST_FINDINGS,
)
# The first drifts by name, each with the first rows behind it: who is woken sees where to look.
_DRIFT = f"""
SELECT r.id, r.endpoint_id, 'ledger', jsonb_build_object('runId', run.id, 'at', run.ended_at, 'drifts', found.drifts,
    'first', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('code', code, 'subject', subject, 'expected', expected,
            'found', found, 'rows', jsonb_path_query_array(rows, '$[0 to {MOST_DRIFT_ROWS - 1}].what'),
            'rowCount', row_count) ORDER BY id), '[]')
        FROM (SELECT * FROM ledger_drift WHERE run_id = run.id ORDER BY id LIMIT {MOST_DRIFTS}) AS drift
    ))
FROM {_RULES} CROSS JOIN (
    SELECT id, ended_at, checks FROM ledger_reconcilerun WHERE ended_at IS NOT NULL ORDER BY id DESC LIMIT 1
) AS run CROSS JOIN LATERAL (
    SELECT sum(greatest(value::integer, 0)) AS drifts FROM jsonb_each_text(run.checks)
) AS found
WHERE r.is_enabled AND r.kind = 'ledger_drift' AND found.drifts > 0
"""  # noqa: S608 (constants)

# The keeper's row is as old as its last word; where there is none nobody ever kept the purses.
_MONEY = f"""
SELECT r.id, r.endpoint_id, 'money', jsonb_build_object(
    'keeperSeconds', extract(epoch FROM now() - kept.at)::int, 'closedSince', kept.closed_since)
FROM {_RULES} CROSS JOIN make_interval(secs => greatest(r.threshold, {CLOSED_SECONDS})) AS patience
    LEFT JOIN ledger_keeping AS kept ON kept.id = 1
WHERE r.is_enabled AND r.kind = 'money_closed'
    AND (kept.id IS NULL OR kept.at < now() - patience OR kept.closed_since < now() - patience)
"""  # noqa: S608 (constants)

STATEMENTS = {
    "target_failing": _FAILING,
    "target_disabled": _DISABLED,
    "target_gone": _GONE,
    "backlog_age": _BACKLOG,
    "failure_queue_growth": _GROWTH,
    "signature_misconfigured": f"({_UNCHECKABLE}) UNION ALL ({_MISCONFIGURED})",
    "partition_missing": _PARTITIONS,
    "publish_failed": _PUBLISH,
    "unpriced_calls": _UNPRICED,
    "posting_late": _POSTING,
    "unpostable": _UNPOSTABLE,
    "low_balance": _LOW_BALANCE,
    "wallet_empty": _WALLET_EMPTY,
    "money_closed": _MONEY,
    "ledger_drift": _DRIFT,
}
"""By kind. `signature_misconfigured` takes the least id of the last day."""
