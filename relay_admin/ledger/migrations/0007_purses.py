import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from relay_admin.ledger.migrations._purses_sql import COUNT, PURSES, TABLES, UNDO


class Migration(migrations.Migration):
    """Balances have versions that purses in Redis are told, what was taken is known by generation, and what is compared
    with what is kept."""

    dependencies = [
        ("ledger", "0006_posting"),
        ("catalog", "0009_money"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(TABLES + COUNT + PURSES, UNDO)],
            state_operations=[
                migrations.CreateModel(
                    name="Taken",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "account_id",
                                "generation",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        (
                            "account",
                            models.ForeignKey(
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="ledger.account",
                            ),
                        ),
                        ("generation", models.IntegerField()),
                        ("taken", models.BigIntegerField()),
                    ],
                    options={"db_table": "ledger_taken", "default_permissions": ()},
                ),
                migrations.AddField(
                    model_name="account",
                    name="low_balance_microcredits",
                    field=models.BigIntegerField(help_text="Below it alerts tell of a low balance.", null=True),
                ),
                migrations.AddField(
                    model_name="account",
                    name="overdraft_microcredits",
                    field=models.BigIntegerField(
                        db_default=0, help_text="How far below 0 a prepaid project's calls may take it."
                    ),
                ),
                migrations.AddField(
                    model_name="balance",
                    name="closed_generation",
                    field=models.IntegerField(
                        db_default=0, help_text="What was taken up to it is in the balance alone."
                    ),
                ),
                migrations.AddField(
                    model_name="balance",
                    name="is_purse",
                    field=models.BooleanField(db_default=False, help_text="Whether Redis is told of it."),
                ),
                migrations.AddField(
                    model_name="balance",
                    name="version",
                    field=models.BigIntegerField(
                        db_default=0, help_text="Grows with each change that a purse is to know."
                    ),
                ),
                migrations.AddField(
                    model_name="chargedelta",
                    name="generation",
                    field=models.IntegerField(help_text="Of the purses that gave what is held.", null=True),
                ),
                migrations.AddField(
                    model_name="delta",
                    name="generation",
                    field=models.IntegerField(help_text="Of the purses that gave the debit.", null=True),
                ),
                migrations.AddIndex(
                    model_name="balance",
                    index=models.Index(
                        condition=models.Q(("is_purse", True)), fields=["version"], name="ledger_balance_purses"
                    ),
                ),
                migrations.AddConstraint(
                    model_name="account",
                    constraint=models.CheckConstraint(
                        condition=models.Q(("overdraft_microcredits__range", (0, 10**15))),
                        name="ledger_account_overdrafts",
                    ),
                ),
                migrations.AddConstraint(
                    model_name="account",
                    constraint=models.CheckConstraint(
                        condition=models.Q(("low_balance_microcredits__range", (0, 10**15))),
                        name="ledger_account_low_balances",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ReconcileRun",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("ended_at", models.DateTimeField(help_text="Null: it was cut off, or goes on.", null=True)),
                ("asked_by_id", models.BigIntegerField(help_text="Null: the schedule, or a command.", null=True)),
                ("checks", models.JSONField(help_text="Each check's drifts.")),
            ],
            options={"db_table": "ledger_reconcilerun", "default_permissions": (), "ordering": ["-id"]},
        ),
        migrations.CreateModel(
            name="FoundDrift",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("code", models.CharField(max_length=32)),
                ("subject", models.CharField(max_length=200)),
                ("expected", models.BigIntegerField(null=True)),
                ("found", models.BigIntegerField(null=True)),
                ("account_id", models.BigIntegerField(help_text="Where its rows are to be seen.", null=True)),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="drifts", to="ledger.reconcilerun"
                    ),
                ),
            ],
            options={"db_table": "ledger_drift", "default_permissions": (), "ordering": ["id"]},
        ),
    ]
