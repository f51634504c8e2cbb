from django.db import migrations, models


class Migration(migrations.Migration):
    """Wallets that run low or are empty, and ledgers that do not add up, may be alerts. Choices are Django's alone: no table changes."""

    dependencies = [("deliveries", "0011_posting")]

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
                    ("low_balance", "Low Balance"),
                    ("wallet_empty", "Wallet Empty"),
                    ("ledger_drift", "Ledger Drift"),
                ],
                max_length=24,
            ),
        ),
    ]
