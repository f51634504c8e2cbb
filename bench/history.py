"""A month of finished deliveries, with their requests, bodies, attempts and ledger rows, written by SQL.

Half of them are of today, whose partitions everything new goes to as well, the others of the 29 days before. Each
hundredth is in the failure queue. They belong to the bench's own endpoint and targets, so what looks up by those
meets them. Bodies are short: they are read by request alone.
"""

from datetime import UTC, datetime, timedelta

import psycopg

from bench.product import PROJECT
from relay_admin.deliveries.storage import PARENTS, create_statement
from relay_contract.intake import SHARDS

DAYS = 30
_TARGETS_OF_A_REQUEST = 3

_PAST = f"""
CREATE TEMPORARY TABLE past AS
SELECT n, at, lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS ms
FROM (
    SELECT n, CASE n % 2
        WHEN 0 THEN today + (now() - today) * share
        ELSE today - interval '{DAYS - 1} days' * (1 - share) - interval '1 minute'
    END AS at
    FROM (SELECT date_trunc('day', now(), 'UTC') AS today) AS day,
        LATERAL (SELECT n, n / %(count)s::float8 AS share FROM generate_series(1, %(count)s::bigint) AS n) AS numbers
) AS moments
ORDER BY at
"""

_ID = "(ms || '7' || substr(md5({seed}), 1, 3) || '8' || substr(md5({seed}), 4, 15))::uuid"
_REQUEST_ID = _ID.format(seed="n::text")
_DELIVERY_ID = _ID.format(seed="n || '/' || target.id")

_WHOSE = f"""
    SELECT endpoint.id AS endpoint_id, line.id AS line_id, project.id AS project_id,
        (SELECT min(id) FROM access_relaykey WHERE project_id = project.id) AS relay_key_id
    FROM catalog_endpoint AS endpoint JOIN catalog_line AS line ON line.id = endpoint.line_id
        JOIN catalog_project AS project ON project.id = line.project_id
    WHERE project.slug = '{PROJECT}' AND endpoint.slug = 'events'
"""
_EACH = f"""past CROSS JOIN ({_WHOSE}) AS whose JOIN catalog_target AS target USING (endpoint_id) ORDER BY at"""
_DELIVERY = f"{_DELIVERY_ID}, {_REQUEST_ID}, project_id, target.id"

_FILL = (
    f"""
    INSERT INTO deliveries_request (id, project_id, line_id, endpoint_id, relay_key_id, mode, received_at, revision,
        method, path, caller_request_id, client_ip, content_type, headers, body_bytes, target_count, status)
    SELECT {_REQUEST_ID}, project_id, line_id, endpoint_id, relay_key_id, 'live', at, 1,
        'POST', '/r/{PROJECT}/v1/events', '', '127.0.0.1', 'application/json', '{{"user-agent": "bench"}}', 64,
        {_TARGETS_OF_A_REQUEST}, 202
    FROM past CROSS JOIN ({_WHOSE}) AS whose ORDER BY at
    """,
    f"""
    INSERT INTO deliveries_payload (request_id, received_at, body)
    SELECT {_REQUEST_ID}, at, decode(md5(n::text) || md5(n::text), 'escape') FROM past ORDER BY at
    """,
    f"""
    INSERT INTO deliveries_finished (id, request_id, project_id, target_id, shard, mode, key_mode, state, revision,
        created_at, expires_at, body_bytes, credits, attempt_count, was_contacted, last_status, finished_at,
        dead_reason, duration_ms)
    SELECT {_DELIVERY}, target.id % {SHARDS}, 'async', 'live', CASE n % 100 WHEN 0 THEN 'dead' ELSE 'delivered' END, 1,
        at, at + interval '7 days', 64, 0, 1, true, CASE n % 100 WHEN 0 THEN 400 ELSE 204 END, at,
        CASE n % 100 WHEN 0 THEN 'permanent_failure' ELSE '' END, 3
    FROM {_EACH}
    """,
    f"""
    INSERT INTO deliveries_attempt (id, delivery_id, number, replay, outcome, started_at, duration_ms, url, status,
        error, revision, target_version, response_body, is_response_cut)
    SELECT {_DELIVERY_ID}, {_DELIVERY_ID}, 1, 0, CASE n % 100 WHEN 0 THEN 'dead' ELSE 'delivered' END, at, 3,
        target.url, CASE n % 100 WHEN 0 THEN 400 ELSE 204 END, '', 1, 1, '', false
    FROM {_EACH}
    """,
    f"""
    INSERT INTO ledger_charge (delivery_id, request_id, project_id, target_id, replay, phase, kind, relay_key_id,
        key_mode, micro_credits, units, at)
    SELECT {_DELIVERY}, 0, phase, CASE phase WHEN 0 THEN 'hold' ELSE 'settle' END,
        CASE phase WHEN 0 THEN relay_key_id END, 'live', 0, 1, at
    FROM past CROSS JOIN ({_WHOSE}) AS whose JOIN catalog_target AS target USING (endpoint_id)
        CROSS JOIN (VALUES (0), (1)) AS phases(phase) ORDER BY at
    """,
)


def fill(database: psycopg.Connection[tuple[object, ...]], deliveries: int) -> int:
    """Write about so many; how many there are then. Vacuumed, analyzed and checkpointed when it returns: what that
    costs is not to be found in the figures afterwards."""
    today = datetime.now(UTC).date()
    for parent in PARENTS:
        for age in range(1, DAYS + 1):
            database.execute(create_statement(parent.table, today - timedelta(days=age)))
    database.execute("DROP TABLE IF EXISTS past")
    with database.cursor() as cursor:
        cursor.execute(_PAST.replace("%(count)s", str(deliveries // _TARGETS_OF_A_REQUEST)))
        for statement in _FILL:
            cursor.execute(statement)
    for parent in PARENTS:
        database.execute(f"VACUUM (ANALYZE) {parent.table}")
    database.execute("CHECKPOINT")
    (count,) = database.execute("SELECT count(*) FROM deliveries_finished").fetchone() or (0,)
    assert isinstance(count, int)
    return count
