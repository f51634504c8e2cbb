"""The statements of 0003_relay_plane. They stay as they are, whatever becomes of the models."""

DAILY = {
    "deliveries_request": "id",
    "deliveries_payload": "request_id",
    "deliveries_finished": "id",
    "deliveries_attempt": "delivery_id",
    "deliveries_requestend": "id",
    "deliveries_answer": "delivery_id",
    "deliveries_comparison": "delivery_id",
    "ledger_charge": "delivery_id",
}
"""Partitioned table -> the id it is dealt by."""

# Indexes keep their tables' names and would be in the way of the new ones.
SET_ASIDE = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN
        SELECT indexname FROM pg_indexes WHERE schemaname = current_schema AND tablename IN
            ('deliveries_request', 'deliveries_payload', 'deliveries_delivery', 'deliveries_attempt')
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', name, 'v1_' || name);
    END LOOP;
END $$;
ALTER TABLE deliveries_request RENAME TO v1_request;
ALTER TABLE deliveries_payload RENAME TO v1_payload;
ALTER TABLE deliveries_delivery RENAME TO v1_delivery;
ALTER TABLE deliveries_attempt RENAME TO v1_attempt;
"""

_DELIVERY = """
    id uuid PRIMARY KEY,
    request_id uuid NOT NULL,
    project_id bigint NOT NULL,
    target_id bigint NOT NULL,
    shard smallint NOT NULL,
    mode varchar(8) NOT NULL,
    is_shadow boolean NOT NULL DEFAULT false,
    is_compared boolean NOT NULL DEFAULT false,
    key_mode varchar(8) NOT NULL,
    state varchar(16) NOT NULL,
    revision integer NOT NULL,
    created_at timestamptz NOT NULL,
    next_attempt_at timestamptz {due},
    expires_at timestamptz NOT NULL,
    ordering_key varchar(255),
    body_bytes integer NOT NULL,
    credits bigint NOT NULL,
    claim_id uuid,
    attempt_count integer NOT NULL DEFAULT 0,
    deferral_count integer NOT NULL DEFAULT 0,
    replay_count smallint NOT NULL DEFAULT 0,
    replay_batch_id bigint,
    was_contacted boolean NOT NULL DEFAULT false,
    last_status integer,
    last_error varchar(64) NOT NULL DEFAULT ''"""

_COLUMNS = ", ".join(line.split()[0] for line in _DELIVERY.strip().splitlines())

# Room in each page (fillfactor) lets an update of columns outside the indexes stay on its page (HOT). Dead rows of the
# queue must go soon, or the workers' scan of what is due walks over them: vacuum after 1 % and without pauses.
TABLES = f"""
CREATE TABLE deliveries_request (
    id uuid PRIMARY KEY,
    project_id bigint NOT NULL,
    line_id bigint,
    endpoint_id bigint,
    relay_key_id bigint,
    mode varchar(8) NOT NULL,
    origin varchar(8) NOT NULL DEFAULT 'caller',
    received_at timestamptz NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    method varchar(8) NOT NULL,
    path varchar(512) NOT NULL,
    query varchar(2048) NOT NULL DEFAULT '',
    event_type varchar(128) NOT NULL DEFAULT '',
    caller_request_id varchar(128) NOT NULL,
    client_ip inet NOT NULL,
    content_type varchar(255) NOT NULL,
    headers jsonb NOT NULL,
    body_bytes integer NOT NULL,
    target_count integer NOT NULL,
    filtered_count smallint NOT NULL DEFAULT 0,
    status smallint NOT NULL,
    error varchar(40) NOT NULL DEFAULT '',
    idempotency_key varchar(255) NOT NULL DEFAULT '',
    accept_us integer NOT NULL DEFAULT 0
) PARTITION BY RANGE (id);
CREATE INDEX ON deliveries_request (project_id, id DESC);
CREATE INDEX ON deliveries_request (endpoint_id, id DESC);
CREATE INDEX ON deliveries_request (caller_request_id) WHERE caller_request_id <> '';
CREATE INDEX ON deliveries_request (project_id, status, id DESC) WHERE status NOT IN (202, 0);

CREATE TABLE deliveries_payload (
    request_id uuid PRIMARY KEY, received_at timestamptz NOT NULL, body bytea NOT NULL
) PARTITION BY RANGE (request_id);

CREATE TABLE deliveries_live ({_DELIVERY.format(due="NOT NULL")},
    CONSTRAINT deliveries_live_states CHECK (state IN ('pending', 'sending', 'waiting', 'held'))
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.02
);
CREATE INDEX deliveries_due ON deliveries_live (shard, next_attempt_at) WHERE state IN ('pending', 'sending');
CREATE INDEX deliveries_waiting ON deliveries_live (target_id, next_attempt_at) WHERE state IN ('waiting', 'held');
CREATE INDEX deliveries_sending ON deliveries_live (target_id) WHERE state = 'sending';
CREATE INDEX deliveries_key ON deliveries_live (target_id, ordering_key, id) WHERE ordering_key IS NOT NULL;
CREATE INDEX deliveries_of ON deliveries_live (request_id);
CREATE INDEX deliveries_expiry ON deliveries_live (expires_at) WHERE state IN ('waiting', 'held');

CREATE TABLE deliveries_finished ({_DELIVERY.format(due="NULL")},
    finished_at timestamptz NOT NULL,
    dead_reason varchar(32) NOT NULL DEFAULT '',
    duration_ms integer,
    CONSTRAINT deliveries_finished_states CHECK (state IN ('delivered', 'dead', 'discarded'))
) PARTITION BY RANGE (id);
CREATE INDEX ON deliveries_finished (request_id);
CREATE INDEX ON deliveries_finished (finished_at DESC, id DESC) WHERE state = 'dead';
CREATE INDEX ON deliveries_finished (project_id, finished_at DESC) WHERE state = 'dead';
CREATE INDEX ON deliveries_finished (target_id, finished_at DESC) WHERE state = 'dead';
CREATE INDEX ON deliveries_finished (replay_batch_id) WHERE replay_batch_id IS NOT NULL;

CREATE VIEW deliveries_delivery AS
    SELECT {_COLUMNS}, NULL::timestamptz AS finished_at, ''::varchar(32) AS dead_reason, NULL::integer AS duration_ms
    FROM deliveries_live
    UNION ALL
    SELECT {_COLUMNS}, finished_at, dead_reason, duration_ms FROM deliveries_finished;

CREATE TABLE deliveries_attempt (
    id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    number integer NOT NULL,
    replay smallint NOT NULL,
    outcome varchar(16) NOT NULL,
    started_at timestamptz NOT NULL,
    duration_ms integer NOT NULL,
    connect_ms integer,
    first_byte_ms integer,
    url varchar(2048) NOT NULL,
    status integer,
    error varchar(64) NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    target_version bigint NOT NULL DEFAULT 0,
    response_headers jsonb,
    response_body bytea NOT NULL,
    is_response_cut boolean NOT NULL,
    PRIMARY KEY (delivery_id, id)
) PARTITION BY RANGE (delivery_id);
-- For the page of one attempt: ids grow with the table, so an entry for each 128 pages finds it.
CREATE INDEX ON deliveries_attempt USING brin (id) WITH (autosummarize = on);

CREATE TABLE deliveries_requestend (
    id uuid PRIMARY KEY,
    delivery_id uuid,
    received_at timestamptz NOT NULL,
    status smallint NOT NULL,
    error varchar(40) NOT NULL,
    target_status integer,
    first_byte_us integer,
    total_us bigint NOT NULL,
    bytes_out bigint NOT NULL,
    heartbeats integer NOT NULL,
    close_reason varchar(24) NOT NULL,
    is_stream boolean NOT NULL,
    url varchar(2048) NOT NULL
) PARTITION BY RANGE (id);

CREATE TABLE deliveries_answer (
    delivery_id uuid PRIMARY KEY,
    request_id uuid NOT NULL,
    status integer NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    is_cut boolean NOT NULL,
    duration_ms integer NOT NULL,
    at timestamptz NOT NULL
) PARTITION BY RANGE (delivery_id);
CREATE INDEX ON deliveries_answer (request_id);

CREATE TABLE deliveries_comparison (
    delivery_id uuid PRIMARY KEY,
    request_id uuid NOT NULL,
    target_id bigint NOT NULL,
    baseline_target_id bigint NOT NULL,
    revision integer NOT NULL,
    at timestamptz NOT NULL,
    verdict varchar(12) NOT NULL,
    status integer,
    baseline_status integer,
    duration_ms integer,
    baseline_duration_ms integer,
    differences jsonb NOT NULL
) PARTITION BY RANGE (delivery_id);
CREATE INDEX ON deliveries_comparison (target_id, delivery_id DESC);
"""  # noqa: S608 (constants of this file)

OLDEST = "SELECT least((SELECT min(id::text) FROM v1_request), (SELECT min(id::text) FROM v1_delivery))"

# What was accepted before the ledger was there costs nothing, but is accounted for. Attempts get ids of their time.
MOVE = f"""
INSERT INTO deliveries_request (id, project_id, line_id, endpoint_id, relay_key_id, mode, received_at, method, path,
    caller_request_id, client_ip, content_type, headers, body_bytes, target_count, status)
SELECT r.id, r.project_id, l.id, r.endpoint_id, r.relay_key_id, r.mode, r.received_at, 'POST',
    coalesce('/r/' || p.slug || '/' || l.slug || '/' || e.slug, ''),
    r.caller_request_id, r.client_ip, r.content_type, r.headers, r.body_bytes, r.target_count, 202
FROM v1_request r
LEFT JOIN catalog_endpoint e ON e.id = r.endpoint_id
LEFT JOIN catalog_line l ON l.id = e.line_id
LEFT JOIN catalog_project p ON p.id = l.project_id;

INSERT INTO deliveries_payload (request_id, received_at, body) SELECT request_id, received_at, body FROM v1_payload;

CREATE TEMPORARY TABLE v1_moved ON COMMIT DROP AS
SELECT d.id, d.request_id, d.project_id, d.target_id, d.shard, 'async' AS mode, false AS is_shadow,
    false AS is_compared, coalesce(r.mode, 'live') AS key_mode, d.state, 0 AS revision, d.created_at,
    d.next_attempt_at, greatest(d.created_at, now()) + interval '7 days' AS expires_at, NULL::varchar AS ordering_key,
    coalesce(r.body_bytes, 0) AS body_bytes, 0 AS credits, d.claim_id, d.attempt_count, 0 AS deferral_count,
    least(d.replay_count, 32767)::smallint AS replay_count, NULL::bigint AS replay_batch_id,
    d.last_status IS NOT NULL AS was_contacted, d.last_status, d.last_error, d.finished_at, d.dead_reason,
    r.relay_key_id
FROM v1_delivery d LEFT JOIN v1_request r ON r.id = d.request_id;

INSERT INTO deliveries_live ({_COLUMNS}) SELECT {_COLUMNS} FROM v1_moved WHERE state IN ('pending', 'sending');
INSERT INTO deliveries_finished ({_COLUMNS}, finished_at, dead_reason)
SELECT {_COLUMNS}, coalesce(finished_at, created_at), dead_reason FROM v1_moved
WHERE state NOT IN ('pending', 'sending');

INSERT INTO ledger_charge (delivery_id, replay, phase, kind, request_id, project_id, relay_key_id, target_id, key_mode,
    micro_credits, units)
SELECT id, replay_count, phase, CASE phase WHEN 0 THEN 'hold' ELSE 'settle' END, request_id, project_id,
    CASE phase WHEN 0 THEN relay_key_id END, target_id, key_mode, 0, 1 + body_bytes / 65536
FROM v1_moved CROSS JOIN (VALUES (0), (1)) AS phases(phase)
WHERE phase = 0 OR state NOT IN ('pending', 'sending');

INSERT INTO deliveries_attempt (id, delivery_id, number, replay, outcome, started_at, duration_ms, url, status, error,
    response_body, is_response_cut)
SELECT (lpad(to_hex((extract(epoch FROM started_at) * 1000)::bigint), 12, '0')
        || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid,
    delivery_id, number, replay, outcome, started_at, duration_ms, url, status, error, response_body, is_response_cut
FROM v1_attempt;

DROP TABLE v1_attempt, v1_delivery, v1_payload, v1_request;
"""  # noqa: S608 (as above)
