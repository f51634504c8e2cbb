from django.db import migrations, models


class Migration(migrations.Migration):
    """Answers that wait to be compared. A queue: its dead rows must go soon."""

    dependencies = [("deliveries", "0004_replays_and_alerts")]

    operations = [
        migrations.CreateModel(
            name="ComparedAnswer",
            fields=[
                ("delivery_id", models.UUIDField(primary_key=True, serialize=False)),
                ("request_id", models.UUIDField()),
                ("target_id", models.BigIntegerField()),
                ("is_shadow", models.BooleanField()),
                ("revision", models.IntegerField()),
                ("status", models.IntegerField(null=True)),
                ("body", models.BinaryField(null=True)),
                ("is_cut", models.BooleanField()),
                ("duration_ms", models.IntegerField(null=True)),
                ("at", models.DateTimeField()),
            ],
            options={
                "db_table": "deliveries_comparedanswer",
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["request_id", "target_id"], name="deliveries_compared_of"),
                    models.Index(fields=["at"], name="deliveries_compared_at"),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE deliveries_comparedanswer SET (autovacuum_vacuum_scale_factor = 0.01,"
            " autovacuum_vacuum_cost_delay = 0)",
            migrations.RunSQL.noop,
        ),
    ]
