"""The row triggers that tell every edge what changed. Used by migrations; `test_nouns_match_models` checks them.

Row triggers fire for `save`, `bulk_create`, `QuerySet.update`, raw SQL and the shell alike, and only on commit,
which no signal of Django's does.
"""

from django.db import migrations

from relay_contract.channel import CHANNEL, ROW_TRIGGER, TRIGGER_FUNCTION, TRUNCATE_TRIGGER

CREATE_FUNCTION = migrations.RunSQL(
    f"""
    CREATE FUNCTION {TRIGGER_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            PERFORM pg_notify('{CHANNEL}', TG_TABLE_NAME || ' *');
        ELSIF TG_OP = 'DELETE' THEN
            PERFORM pg_notify('{CHANNEL}', TG_TABLE_NAME || ' ' || OLD.id);
        ELSE
            PERFORM pg_notify('{CHANNEL}', TG_TABLE_NAME || ' ' || NEW.id);
        END IF;
        RETURN NULL;
    END $$;
    """,
    f"DROP FUNCTION {TRIGGER_FUNCTION}()",
)


def notify_on_change(table: str) -> migrations.RunSQL:
    """Migration operation: rows of `table` announce themselves on the catalog channel."""
    return migrations.RunSQL(
        f"""
        CREATE TRIGGER {ROW_TRIGGER} AFTER INSERT OR UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {TRIGGER_FUNCTION}();
        CREATE TRIGGER {TRUNCATE_TRIGGER} AFTER TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION {TRIGGER_FUNCTION}();
        """,
        f"DROP TRIGGER {ROW_TRIGGER} ON {table}; DROP TRIGGER {TRUNCATE_TRIGGER} ON {table};",
    )
