from django.db import migrations, models


class Migration(migrations.Migration):
    """Calls that nobody can price may be an alert. Choices are Django's alone: no table changes."""

    dependencies = [("deliveries", "0009_alert_reminders")]

    operations = [
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
                    ("unpriced_calls", "Unpriced Calls"),
                ],
                max_length=24,
            ),
        ),
    ]
