from django.db import migrations

INDEXES = {
    "deliveries_request_rare": (
        "deliveries_request",
        "(id DESC) WHERE status >= 300 OR error <> '' OR target_count = 0",
    ),
    "deliveries_requestend_rare": ("deliveries_requestend", "(id DESC) WHERE status >= 300 OR error <> ''"),
    "deliveries_finished_failed": ("deliveries_finished", "(state, request_id DESC) WHERE state <> 'delivered'"),
}
"""Name -> table and the rest. What goes well has no entry."""

_PARTITIONS = """
SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = %s::regclass ORDER BY child.relname
"""
_IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"


def build(_apps, schema_editor):
    """Partition by partition while the edges write: Postgres cannot do that of a partitioned table at once. Begun again
    after a break it goes on where that was. A partition that is made meanwhile has the index from its table."""
    with schema_editor.connection.cursor() as cursor:
        for name, (table, rest) in INDEXES.items():
            cursor.execute(f"CREATE INDEX IF NOT EXISTS {name} ON ONLY {table} {rest}")
            cursor.execute(_PARTITIONS, [table])
            for (partition,) in cursor.fetchall():
                _build_one(cursor, name, partition, rest)


def _build_one(cursor, name, partition, rest):
    own = f"{partition}_{name.rpartition('_')[2]}"
    cursor.execute(_IS_VALID, [own])
    if cursor.fetchone() == (False,):
        cursor.execute(f"DROP INDEX {own}")
    cursor.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {own} ON {partition} {rest}")
    cursor.execute(f"ALTER INDEX {name} ATTACH PARTITION {own}")


def drop(_apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        for name in INDEXES:
            cursor.execute(f"DROP INDEX {name}")


class Migration(migrations.Migration):
    """The request log by a status, error or outcome that is rare: without reading what went well."""

    atomic = False
    dependencies = [("deliveries", "0013_money_closed")]

    operations = [migrations.RunPython(build, drop)]
