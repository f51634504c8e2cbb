from django.db import migrations


class Migration(migrations.Migration):
    """Finds the dead of an ordering key: with the policy `block` they stand before the rest of it."""

    dependencies = [("deliveries", "0005_compared_answers")]

    operations = [
        migrations.RunSQL(
            """
            CREATE INDEX deliveries_finished_key ON deliveries_finished (target_id, ordering_key)
                WHERE state = 'dead' AND ordering_key IS NOT NULL
            """,
            "DROP INDEX deliveries_finished_key",
        )
    ]
