from django.db import migrations, models

import relay_admin.deliveries.models


class Migration(migrations.Migration):
    """Replays that the workers run: what is due of them, and the failure queue in the order of its ids."""

    dependencies = [("deliveries", "0007_mapping_failed")]

    operations = [
        migrations.RemoveField(model_name="replaybatch", name="finished_count"),
        migrations.RemoveField(model_name="replaybatch", name="started_at"),
        migrations.AddField(
            model_name="replaybatch",
            name="credits",
            field=models.BigIntegerField(db_default=0, help_text="Micro-credits held for what was replayed."),
        ),
        migrations.AlterField(
            model_name="replaybatch",
            name="charge",
            field=models.CharField(
                choices=[("first_free", "first_free"), ("free", "free"), ("half", "half"), ("full", "full")],
                db_default="free",
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="replaybatch",
            name="credits_estimate",
            field=models.BigIntegerField(db_default=0, help_text="Micro-credits, when it was started."),
        ),
        migrations.RunSQL("UPDATE deliveries_replaybatch SET next_at = created_at WHERE next_at IS NULL", ""),
        migrations.AlterField(
            model_name="replaybatch",
            name="next_at",
            field=models.DateTimeField(
                db_default=relay_admin.deliveries.models.StatementNow(), help_text="When its next step is due."
            ),
        ),
        migrations.AlterField(
            model_name="replaybatch",
            name="refused",
            field=models.JSONField(default=dict, help_text="Delivery id -> why it stayed; the first thousand of them."),
        ),
        migrations.AlterField(
            model_name="replaybatch",
            name="state",
            field=models.CharField(
                choices=[
                    ("running", "running"),
                    ("paused", "paused"),
                    ("cancelled", "cancelled"),
                    ("done", "done"),
                ],
                db_default="running",
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="replaybatch",
            name="until",
            field=models.DateTimeField(
                db_default=relay_admin.deliveries.models.StatementNow(),
                help_text="Only what had failed before: never its own failures.",
            ),
        ),
        migrations.AddIndex(
            model_name="replaybatch",
            index=models.Index(
                fields=["next_at"], condition=models.Q(("state", "running")), name="deliveries_replay_due"
            ),
        ),
        migrations.RunSQL(
            "CREATE INDEX deliveries_finished_dead ON deliveries_finished (id) WHERE state = 'dead'",
            "DROP INDEX deliveries_finished_dead",
        ),
    ]
