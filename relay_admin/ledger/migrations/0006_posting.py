import django.db.models.functions.datetime
from django.db import migrations, models

from relay_admin.ledger.migrations._posting_sql import DUE, ENTRY, TERMS, UNDO, USAGE


class Migration(migrations.Migration):
    """Calls are posted as entries, under their project's terms, and summed up by the hour. What was called or settled
    before is in neither: those calls have no payer."""

    dependencies = [
        ("ledger", "0005_topups"),
        ("traffic", "0005_money"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(DUE + TERMS + USAGE + ENTRY, UNDO)],
            state_operations=[
                migrations.CreateModel(
                    name="Due",
                    fields=[
                        ("id", models.UUIDField(primary_key=True, serialize=False)),
                        ("tries", models.SmallIntegerField(db_default=0)),
                        (
                            "error",
                            models.CharField(
                                db_default="", help_text="Why the last try came to nothing.", max_length=200
                            ),
                        ),
                        ("not_before", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                    ],
                    options={
                        "db_table": "ledger_due",
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Terms",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("project_id", models.BigIntegerField()),
                        ("markup_ppm", models.IntegerField(help_text="Of the cost, on top.")),
                        (
                            "owner_ppm",
                            models.IntegerField(help_text="Of the mark-up: the project's. The rest is the relay's."),
                        ),
                        (
                            "referral_ppm",
                            models.IntegerField(help_text="Of the project's part: of who brought the user."),
                        ),
                        ("by_id", models.BigIntegerField(null=True)),
                        ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                    ],
                    options={
                        "verbose_name_plural": "terms",
                        "db_table": "ledger_terms",
                        "ordering": ["-id"],
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="UsageDelta",
                    fields=[
                        ("hour", models.DateTimeField()),
                        ("project_id", models.BigIntegerField()),
                        ("mode", models.CharField(max_length=8)),
                        ("what", models.CharField(help_text="call, delivery", max_length=8)),
                        ("relay_key_id", models.BigIntegerField()),
                        ("user_id", models.BigIntegerField()),
                        ("application_id", models.BigIntegerField()),
                        ("model", models.CharField(max_length=128)),
                        ("target_id", models.BigIntegerField()),
                        ("calls", models.BigIntegerField()),
                        ("charge", models.BigIntegerField()),
                        ("cost", models.BigIntegerField()),
                        ("markup", models.BigIntegerField()),
                        ("input_tokens", models.BigIntegerField()),
                        ("output_tokens", models.BigIntegerField()),
                        ("cache_read_tokens", models.BigIntegerField()),
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                    ],
                    options={
                        "db_table": "ledger_usagedelta",
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="UsageHour",
                    fields=[
                        ("hour", models.DateTimeField()),
                        ("project_id", models.BigIntegerField()),
                        ("mode", models.CharField(max_length=8)),
                        ("what", models.CharField(help_text="call, delivery", max_length=8)),
                        ("relay_key_id", models.BigIntegerField()),
                        ("user_id", models.BigIntegerField()),
                        ("application_id", models.BigIntegerField()),
                        ("model", models.CharField(max_length=128)),
                        ("target_id", models.BigIntegerField()),
                        ("calls", models.BigIntegerField()),
                        ("charge", models.BigIntegerField()),
                        ("cost", models.BigIntegerField()),
                        ("markup", models.BigIntegerField()),
                        ("input_tokens", models.BigIntegerField()),
                        ("output_tokens", models.BigIntegerField()),
                        ("cache_read_tokens", models.BigIntegerField()),
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "project_id",
                                "hour",
                                "mode",
                                "what",
                                "relay_key_id",
                                "user_id",
                                "application_id",
                                "model",
                                "target_id",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                    ],
                    options={
                        "db_table": "ledger_usagehour",
                        "default_permissions": (),
                    },
                ),
                migrations.AddField(
                    model_name="entry",
                    name="pricing_id",
                    field=models.BigIntegerField(null=True),
                ),
                migrations.AddField(
                    model_name="entry",
                    name="pricing_version",
                    field=models.IntegerField(null=True),
                ),
                migrations.AddField(
                    model_name="entry",
                    name="project_id",
                    field=models.BigIntegerField(help_text="Of a call, and so the three below.", null=True),
                ),
                migrations.AddField(
                    model_name="entry",
                    name="terms_id",
                    field=models.BigIntegerField(null=True),
                ),
            ],
        ),
    ]
