import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from relay_admin.ledger.migrations._double_entry_sql import ACCOUNTS, COUNT, GUARD, START, TABLES, UNDO


class Migration(migrations.Migration):
    """Accounts, entries, and the deltas, balances and days that are made of them. Accepting and recording waits while it
    runs, which is no longer than the queue is summed up."""

    dependencies = [
        ("ledger", "0001_initial"),
        ("catalog", "0007_stream_hold"),
        ("deliveries", "0009_alert_reminders"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(TABLES + COUNT + GUARD + ACCOUNTS + START, UNDO)],
            state_operations=[
                migrations.CreateModel(
                    name="Account",
                    fields=[
                        (
                            "id",
                            models.BigIntegerField(
                                help_text="Even: live; odd: test.", primary_key=True, serialize=False
                            ),
                        ),
                        (
                            "kind",
                            models.CharField(
                                choices=[
                                    ("wallet", "wallet"),
                                    ("pool", "pool"),
                                    ("earnings", "earnings"),
                                    ("revenue", "revenue"),
                                    ("payments", "payments"),
                                    ("promotions", "promotions"),
                                    ("suspense", "suspense"),
                                ],
                                max_length=16,
                            ),
                        ),
                        ("mode", models.CharField(choices=[("live", "live"), ("test", "test")], max_length=8)),
                        ("project_id", models.BigIntegerField(help_text="Null: the relay's own.", null=True)),
                        ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                    ],
                    options={
                        "db_table": "ledger_account",
                        "ordering": ["id"],
                        "permissions": [("post_entry", "Can grant credits and adjust accounts")],
                        "default_permissions": ("view",),
                    },
                ),
                migrations.CreateModel(
                    name="ChargeDelta",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("project_id", models.BigIntegerField()),
                        ("key_mode", models.CharField(max_length=8)),
                        ("day", models.DateField()),
                        ("held", models.BigIntegerField()),
                        ("unheld", models.BigIntegerField(help_text="Of holds that were closed.")),
                        ("settled", models.BigIntegerField()),
                        ("entries", models.IntegerField(help_text="Settlements.")),
                    ],
                    options={
                        "db_table": "ledger_chargedelta",
                        "default_permissions": (),
                    },
                ),
                migrations.AddField(
                    model_name="charge",
                    name="held_microcredits",
                    field=models.BigIntegerField(
                        help_text="Of a close: what its hold was, where that is not `micro_credits`.", null=True
                    ),
                ),
                migrations.CreateModel(
                    name="Balance",
                    fields=[
                        (
                            "account",
                            models.OneToOneField(
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                primary_key=True,
                                related_name="+",
                                serialize=False,
                                to="ledger.account",
                            ),
                        ),
                        ("debit", models.BigIntegerField()),
                        ("credit", models.BigIntegerField()),
                        ("open_holds", models.BigIntegerField(help_text="Held for deliveries that are not over.")),
                        ("folded_at", models.DateTimeField()),
                    ],
                    options={
                        "db_table": "ledger_balance",
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Day",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "account_id",
                                "day",
                                "kind",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("day", models.DateField()),
                        ("kind", models.SmallIntegerField()),
                        ("debit", models.BigIntegerField()),
                        ("credit", models.BigIntegerField()),
                        ("entries", models.BigIntegerField()),
                        (
                            "account",
                            models.ForeignKey(
                                db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, to="ledger.account"
                            ),
                        ),
                    ],
                    options={
                        "db_table": "ledger_day",
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Delta",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("day", models.DateField()),
                        ("kind", models.SmallIntegerField()),
                        ("debit", models.BigIntegerField()),
                        ("credit", models.BigIntegerField()),
                        ("entries", models.IntegerField()),
                        (
                            "account",
                            models.ForeignKey(
                                db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, to="ledger.account"
                            ),
                        ),
                    ],
                    options={
                        "db_table": "ledger_delta",
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Entry",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "source", "kind", blank=True, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("source", models.UUIDField(help_text="What it was posted for: UUIDv7.")),
                        ("kind", models.SmallIntegerField(help_text="An EntryKind.")),
                        ("debit_id", models.BigIntegerField()),
                        ("credit_id", models.BigIntegerField()),
                        ("amount", models.BigIntegerField(help_text="Micro-credits.")),
                        ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ("by_id", models.BigIntegerField(help_text="The user who asked for it.", null=True)),
                        ("note", models.CharField(help_text="Why.", max_length=200)),
                    ],
                    options={
                        "db_table": "ledger_entry",
                        "default_permissions": ("view",),
                        "constraints": [
                            models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="ledger_entry_amounts"),
                            models.CheckConstraint(
                                condition=models.Q(("debit_id", models.F("credit_id")), _negated=True),
                                name="ledger_entry_sides",
                            ),
                        ],
                    },
                ),
            ],
        ),
    ]
