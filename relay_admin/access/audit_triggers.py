"""The row triggers that write the audit log. Used by migrations; `tests/admin/test_audit.py` checks what they cover.

Row triggers see `save`, `bulk_create`, `QuerySet.update`, raw SQL and the shell alike, and write in the transaction of
the change: there is no change without its event and no event without its change. Who did it comes with the connection
(`relay.actor`, see `acting.py`); where nobody said, it was a worker's own connection, or somebody with SQL.

No secret gets into an event: sealed values, hashes, passwords and PEM show that they changed, headers which of them
did. A value of more than MAX_SHOWN_CHARACTERS shows how long it is.
"""

from django.db import migrations

MAX_SHOWN_CHARACTERS = 8_192
FORGETTING = "relay.audit_forgets"
"""The setting under which retention deletes; see `audit.py`."""
HIDDEN = "(changed)"
ROW_TRIGGER, TRUNCATE_TRIGGER = "access_audit", "access_audit_truncate"

CREATE_TABLE = migrations.RunSQL(
    """
    CREATE TABLE access_auditevent (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        via varchar(16) NOT NULL,
        actor_id bigint,
        actor_name varchar(150) NOT NULL,
        tool varchar(150) NOT NULL,
        address inet,
        project_id bigint,
        action varchar(16) NOT NULL,
        subject varchar(40) NOT NULL,
        subject_id bigint,
        subject_name varchar(200) NOT NULL,
        before jsonb,
        after jsonb
    );
    CREATE INDEX access_auditevent_at ON access_auditevent (at);
    CREATE INDEX access_auditevent_subject ON access_auditevent (subject, subject_id, id);
    CREATE INDEX access_auditevent_project ON access_auditevent (project_id, id);
    CREATE INDEX access_auditevent_actor ON access_auditevent (actor_name, id);
    """,
    "DROP TABLE access_auditevent",
)

REFUSE_CHANGES = migrations.RunSQL(
    f"""
    CREATE FUNCTION access_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('{FORGETTING}', true) = 'on' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'the audit log is only ever added to' USING ERRCODE = 'restrict_violation';
    END $$;
    CREATE TRIGGER access_audit_append_only BEFORE UPDATE OR DELETE ON access_auditevent
        FOR EACH ROW EXECUTE FUNCTION access_audit_refuse();
    CREATE TRIGGER access_audit_never_emptied BEFORE TRUNCATE ON access_auditevent
        FOR EACH STATEMENT EXECUTE FUNCTION access_audit_refuse();
    """,
    """
    DROP TRIGGER access_audit_never_emptied ON access_auditevent;
    DROP TRIGGER access_audit_append_only ON access_auditevent;
    DROP FUNCTION access_audit_refuse();
    """,
)

# Arguments of the trigger: the subject; the column with its id; the column that leads to its project, or ''; what the
# names of its columns are preceded by, or ''; columns to hide; columns whose changes are nobody's doing.
CREATE_FUNCTIONS = migrations.RunSQL(
    f"""
    CREATE FUNCTION access_audit_shown(name text, own jsonb, other jsonb, hidden text[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE
            WHEN own IS NULL OR own IN ('null', '""', '"\\\\x"', '{{}}', '[]') THEN own
            WHEN name = ANY (hidden) OR name ~ '(^sealed_|_hash$|^password$)' THEN '"{HIDDEN}"'
            WHEN name = 'headers' THEN CASE WHEN jsonb_typeof(own) <> 'object' THEN '"{HIDDEN}"' ELSE (
                SELECT coalesce(jsonb_object_agg(key, '{HIDDEN}'), '{{}}') FROM jsonb_each(own)
                WHERE other IS NULL OR jsonb_typeof(other) <> 'object' OR value IS DISTINCT FROM other -> key
            ) END
            WHEN length(own::text) > {MAX_SHOWN_CHARACTERS}
                THEN to_jsonb(format('(%s characters)', length(own::text)))
            ELSE own
        END
    $$;

    CREATE FUNCTION access_audit_project(path text, place bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
        SELECT CASE path
            WHEN 'id' THEN place
            WHEN 'project_id' THEN place
            WHEN 'line_id' THEN (SELECT project_id FROM catalog_line WHERE id = place)
            WHEN 'endpoint_id' THEN (
                SELECT l.project_id FROM catalog_endpoint e JOIN catalog_line l ON l.id = e.line_id WHERE e.id = place
            )
            WHEN 'target_id' THEN (
                SELECT l.project_id FROM catalog_target t
                JOIN catalog_endpoint e ON e.id = t.endpoint_id JOIN catalog_line l ON l.id = e.line_id
                WHERE t.id = place
            )
        END
    $$;

    CREATE FUNCTION access_audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    DECLARE
        actor jsonb := nullif(current_setting('relay.actor', true), '')::jsonb;
        application text := current_setting('application_name');
        doing text := lower(TG_OP);
        was jsonb; is_now jsonb; one jsonb; was_shown jsonb; now_shown jsonb; named text;
    BEGIN
        IF TG_OP <> 'TRUNCATE' THEN
            IF TG_OP <> 'INSERT' THEN was := to_jsonb(OLD); END IF;
            IF TG_OP <> 'DELETE' THEN is_now := to_jsonb(NEW); END IF;
            one := coalesce(is_now, was);
            SELECT jsonb_object_agg(TG_ARGV[3] || k, access_audit_shown(k, was -> k, is_now -> k, TG_ARGV[4]::text[])),
                jsonb_object_agg(TG_ARGV[3] || k, access_audit_shown(k, is_now -> k, was -> k, TG_ARGV[4]::text[]))
            INTO was_shown, now_shown
            FROM jsonb_object_keys(one) AS k
            WHERE nullif(was -> k, 'null') IS DISTINCT FROM nullif(is_now -> k, 'null')
                AND k <> ALL (TG_ARGV[5]::text[]);
            IF was_shown IS NULL AND now_shown IS NULL THEN
                RETURN NULL;
            END IF;
            IF TG_ARGV[3] <> '' THEN
                doing := 'update';  -- a part that came or went changed what it is a part of
            ELSE
                named := coalesce(one ->> 'slug', one ->> 'name', one ->> 'username', one ->> 'kind');
            END IF;
        END IF;
        IF actor IS NULL THEN
            actor := CASE WHEN application LIKE 'relay-delivery%' THEN jsonb_build_object('via', 'worker')
                ELSE jsonb_build_object('via', 'sql', 'name', session_user) END
                || jsonb_build_object('tool', application);
        END IF;
        INSERT INTO access_auditevent (via, actor_id, actor_name, tool, address, project_id, action, subject,
            subject_id, subject_name, before, after)
        VALUES (
            left(actor ->> 'via', 16), (actor ->> 'id')::bigint, left(coalesce(actor ->> 'name', ''), 150),
            left(coalesce(actor ->> 'tool', ''), 150), (actor ->> 'address')::inet,
            access_audit_project(TG_ARGV[2], (one ->> TG_ARGV[2])::bigint), doing, TG_ARGV[0],
            (one ->> TG_ARGV[1])::bigint, left(coalesce(named, ''), 200),
            CASE WHEN was IS NOT NULL THEN was_shown END, CASE WHEN is_now IS NOT NULL THEN now_shown END
        );
        RETURN NULL;
    END $$;
    """,  # noqa: S608 (constants)
    """
    DROP FUNCTION access_audit();
    DROP FUNCTION access_audit_project(text, bigint);
    DROP FUNCTION access_audit_shown(text, jsonb, jsonb, text[]);
    """,
)


def audited(
    table: str,
    subject: str,
    *,
    key: str = "id",
    project: str = "",
    part: str = "",
    hidden: tuple[str, ...] = (),
    ignored: tuple[str, ...] = (),
) -> migrations.RunSQL:
    """Migration operation: changes of `table` go to the audit log as changes of `subject`, a model's label.

    `key`: the column with the subject's id. `project`: the column that leads to its project: id, project_id, line_id,
    endpoint_id or target_id. `part`: for rows that are a part of their subject, such as a group of a user: its columns
    are written as `{part}.{column}`. `hidden`: columns with secrets, beside those that their names give away
    (`sealed_*`, `*_hash`, `password`, the values of `headers`). `ignored`: columns that nobody changes on purpose.
    """
    arguments = (
        subject,
        key,
        project,
        f"{part}." if part else "",
        f"{{{','.join(hidden)}}}",
        f"{{{','.join(('created_at', 'updated_at', *ignored))}}}",
    )
    written = ", ".join(f"'{each}'" for each in arguments)
    return migrations.RunSQL(
        f"""
        CREATE TRIGGER {ROW_TRIGGER} AFTER INSERT OR UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION access_audit({written});
        CREATE TRIGGER {TRUNCATE_TRIGGER} AFTER TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION access_audit({written});
        """,
        f"DROP TRIGGER {ROW_TRIGGER} ON {table}; DROP TRIGGER {TRUNCATE_TRIGGER} ON {table};",
    )
