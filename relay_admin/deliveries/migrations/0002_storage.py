from django.db import migrations


class Migration(migrations.Migration):
    """How Postgres stores deliveries: each row is updated a few times and then left alone.

    Room in each page (fillfactor) lets an update of columns outside the indexes stay on its page (HOT). Dead rows of the
    queue must go soon, or the workers' scan of what is due walks over them: vacuum after 1 % and without pauses.
    """

    dependencies = [("deliveries", "0001_initial")]

    operations = [
        migrations.RunSQL(
            """
            ALTER TABLE deliveries_delivery SET (
                fillfactor = 80,
                autovacuum_vacuum_scale_factor = 0.01,
                autovacuum_vacuum_cost_delay = 0,
                autovacuum_analyze_scale_factor = 0.02
            )
            """,
            """
            ALTER TABLE deliveries_delivery RESET (
                fillfactor,
                autovacuum_vacuum_scale_factor,
                autovacuum_vacuum_cost_delay,
                autovacuum_analyze_scale_factor
            )
            """,
        ),
    ]
