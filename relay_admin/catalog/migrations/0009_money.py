import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    """Projects know their accounts, and how they pay."""

    dependencies = [
        ("catalog", "0008_unpriced"),
    ]

    operations = [
        migrations.AddField(
            model_name="project",
            name="billing",
            field=models.CharField(
                choices=[("metered", "metered"), ("prepaid", "prepaid")],
                db_default="metered",
                default="metered",
                help_text="metered: calls are counted. prepaid: a call needs a wallet that can pay it.",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="budget",
            field=models.JSONField(blank=True, help_text="What it may spend in a day, week or month, UTC.", null=True),
        ),
        migrations.AddField(
            model_name="project",
            name="live_pool_id",
            field=models.BigIntegerField(
                db_default=0, default=0, editable=False, help_text="What its owner sets aside for its users."
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="live_wallet_id",
            field=models.BigIntegerField(
                db_default=0, default=0, editable=False, help_text="The wallet of its live keys."
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="markup_ppm",
            field=models.IntegerField(db_default=0, default=0, editable=False, help_text="A copy of its terms'."),
        ),
        migrations.AddField(
            model_name="project",
            name="pool_cap_microcredits",
            field=models.BigIntegerField(
                db_default=0,
                default=0,
                help_text="What the pool pays for a user and month. 0: nothing.",
                validators=[django.core.validators.MinValueValidator(0)],
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="terms_id",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="project",
            name="test_pool_id",
            field=models.BigIntegerField(db_default=0, default=0, editable=False, help_text="The same, of test money."),
        ),
        migrations.AddField(
            model_name="project",
            name="test_wallet_id",
            field=models.BigIntegerField(
                db_default=0, default=0, editable=False, help_text="The wallet of its test keys."
            ),
        ),
    ]
