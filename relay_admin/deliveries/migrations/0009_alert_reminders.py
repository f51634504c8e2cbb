from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    """Open alerts are told again, and publications that failed are alerts."""

    dependencies = [("deliveries", "0008_replays")]

    operations = [
        migrations.AddField(
            model_name="alertrule",
            name="remind_seconds",
            field=models.IntegerField(
                db_default=3600, help_text="While it stays wrong it is told again after so long. 0: it is told once."
            ),
        ),
        migrations.AddField(
            model_name="alertevent",
            name="told_at",
            field=models.DateTimeField(db_default=Now(), help_text="When it was last told of, reminders included."),
        ),
        migrations.AddField(model_name="alertevent", name="reminder_count", field=models.IntegerField(db_default=0)),
        migrations.AlterField(
            model_name="alertrule",
            name="kind",
            field=models.CharField(
                choices=[
                    ("target_failing", "Target Failing"),
                    ("target_disabled", "Target Disabled"),
                    ("target_gone", "Target Gone"),
                    ("backlog_age", "Backlog Age"),
                    ("failure_queue_growth", "Failure Queue Growth"),
                    ("signature_misconfigured", "Signature Misconfigured"),
                    ("partition_missing", "Partition Missing"),
                    ("publish_failed", "Publish Failed"),
                ],
                max_length=24,
            ),
        ),
    ]
