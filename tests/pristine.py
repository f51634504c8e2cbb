"""Puts the test database back to what migrations made of it, after each test that commits.

Django's way truncates every table, and then saves what migrations had written object by object: a third of a second.
Here a function of the database deletes from all tables, and copies rows from copies of theirs: 15 ms.
"""

from typing import Any

from django.db import connection

# Waits for transactions that are under way, as TRUNCATE would, so that nothing of theirs comes after it. A replica
# fires no triggers: neither foreign keys nor the rules about the ledger.
_MAKE = """
DROP SCHEMA IF EXISTS pristine CASCADE;
CREATE SCHEMA pristine;
CREATE VIEW pristine.tables AS
SELECT relname AS name, (
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
) AS columns
FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND relname <> 'django_migrations';
DO $$
DECLARE each record; is_filled boolean;
BEGIN
    FOR each IN SELECT * FROM pristine.tables LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM public.%I)', each.name) INTO is_filled;
        IF is_filled THEN
            EXECUTE format('CREATE TABLE pristine.%I AS SELECT * FROM public.%I', each.name, each.name);
        END IF;
    END LOOP;
END $$;
CREATE FUNCTION pristine.put_back() RETURNS void LANGUAGE plpgsql AS $$
DECLARE each record;
BEGIN
    PERFORM set_config('session_replication_role', 'replica', true);
    EXECUTE (SELECT 'LOCK TABLE ' || string_agg(format('public.%I', name), ', ' ORDER BY name)
        || ' IN SHARE ROW EXCLUSIVE MODE' FROM pristine.tables);
    FOR each IN SELECT * FROM pristine.tables LOOP
        EXECUTE format('DELETE FROM public.%I', each.name);
    END LOOP;
    FOR each IN SELECT * FROM pristine.tables WHERE to_regclass(format('pristine.%I', name)) IS NOT NULL LOOP
        EXECUTE format('INSERT INTO public.%1$I (%2$s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM pristine.%1$I',
            each.name, each.columns);
    END LOOP;
END $$;
"""


def keep() -> None:
    """Copies what there is, and has Django flush as this module does it from here on."""
    with connection.cursor() as cursor:
        cursor.execute(_MAKE)
    connection.ops.sql_flush = _sql_flush
    connection.creation.deserialize_db_from_string = _is_back_already


def _sql_flush(*_arguments: Any, **_options: Any) -> list[str]:
    return ["SELECT pristine.put_back()"]


def _is_back_already(_data: str) -> None:
    """What Django would save before the next test was put back after the last."""
