from django.db import migrations, models


class Migration(migrations.Migration):
    """Calls that are posted late or not at all may be alerts. Choices are Django's alone: no table changes."""

    dependencies = [("deliveries", "0010_unpriced_calls")]

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
                    ("posting_late", "Posting Late"),
                    ("unpostable", "Unpostable"),
                ],
                max_length=24,
            ),
        ),
    ]
