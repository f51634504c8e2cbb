from django.db import migrations, models


class Migration(migrations.Migration):
    """Users have wallets, and relay keys say whose wallet pays."""

    dependencies = [
        ("access", "0011_sessions"),
    ]

    operations = [
        migrations.AddField(
            model_name="relaykey",
            name="budget",
            field=models.JSONField(blank=True, help_text="What it may spend in a day, week or month, UTC.", null=True),
        ),
        migrations.AddField(
            model_name="relaykey",
            name="pays",
            field=models.CharField(
                choices=[("project", "project"), ("user", "user")],
                db_default="project",
                default="project",
                help_text="Whose wallet its calls are charged to.",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="relaykey",
            name="wallet_id",
            field=models.BigIntegerField(editable=False, help_text="The user's, where the user pays.", null=True),
        ),
        migrations.AddField(
            model_name="user",
            name="live_wallet_id",
            field=models.BigIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="user",
            name="test_wallet_id",
            field=models.BigIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddConstraint(
            model_name="relaykey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("pays", "user"), _negated=True), ("wallet_id__isnull", False), _connector="OR"
                ),
                name="access_relaykey_payer",
                violation_error_message="A key that its user pays for has a user.",
            ),
        ),
    ]
