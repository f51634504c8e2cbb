from typing import Any

import django.db.models.deletion
import django.db.models.functions.datetime
from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations, models

from relay_admin.access.audit_triggers import audited

ONLY_ADDED = ("ledger_refund", "ledger_coderedemption", "ledger_invoice")
_EVERYBODY = ("view_topup", "view_creditcode", "view_invoice")
_OPERATORS = ("add_topup", "refund_topup", "add_creditcode", "change_creditcode", "redeem_creditcode")
GRANTS = {"operators": (*_EVERYBODY, *_OPERATORS), "support": _EVERYBODY, "viewers": _EVERYBODY}


def guard(table: str) -> migrations.RunSQL:
    """As entries are: only ever added."""
    return migrations.RunSQL(
        f"""
        CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION ledger_refuse();
        CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_truncate();
        """,
        f"DROP TRIGGER ledger_no_truncate ON {table}; DROP TRIGGER ledger_append_only ON {table};",
    )


def widen_groups(apps: Any, _schema_editor: Any) -> None:
    """A group that was removed stays removed."""
    create_permissions(installed.get_app_config("ledger"), verbosity=0, apps=apps)
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in GRANTS.items():
        for group in group_model.objects.filter(name=name):
            group.permissions.add(
                *permission_model.objects.filter(content_type__app_label="ledger", codename__in=codenames)
            )


class Migration(migrations.Migration):
    """Top-ups, credit codes and invoices. Everybody sees them; operators record, refund, make and redeem."""

    dependencies = [
        ("ledger", "0004_money"),
    ]

    operations = [
        migrations.CreateModel(
            name="CreditCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code_hash", models.BinaryField(unique=True)),
                ("hint", models.CharField(help_text="The code's last letters.", max_length=4)),
                ("mode", models.CharField(choices=[("live", "live"), ("test", "test")], max_length=8)),
                ("microcredits", models.BigIntegerField(help_text="For each who redeems it.")),
                ("most_uses", models.IntegerField(default=1)),
                ("uses", models.IntegerField(default=0)),
                (
                    "expires_at",
                    models.DateTimeField(blank=True, help_text="In UTC. Empty: it does not expire.", null=True),
                ),
                ("is_enabled", models.BooleanField(default=True)),
                ("note", models.CharField(help_text="What it is for. Kept with each entry.", max_length=200)),
                ("by_id", models.BigIntegerField(help_text="The user who made it.", null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "db_table": "ledger_creditcode",
                "ordering": ["-id"],
                "permissions": [("redeem_creditcode", "Can redeem credit codes")],
                "default_permissions": ("view", "add", "change"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("microcredits__gt", 0), ("most_uses__gt", 0)),
                        name="ledger_creditcode_amounts",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("uses__gte", 0), ("uses__lte", models.F("most_uses"))),
                        name="ledger_creditcode_uses",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="TopUp",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("source", models.UUIDField(help_text="Of its entry: UUIDv7.", unique=True)),
                ("microcredits", models.BigIntegerField()),
                ("price_minor", models.BigIntegerField(help_text="In the currency's smallest unit, such as cents.")),
                ("currency", models.CharField(help_text="ISO 4217, in lower case.", max_length=3)),
                ("provider", models.CharField(max_length=16)),
                (
                    "reference",
                    models.CharField(
                        blank=True, help_text="The provider's checkout; empty: not known yet.", max_length=255
                    ),
                ),
                ("payment", models.CharField(blank=True, help_text="The provider's payment.", max_length=255)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("paid", "Paid"),
                            ("failed", "Failed"),
                            ("refunded", "Refunded"),
                        ],
                        default="pending",
                        max_length=8,
                    ),
                ),
                ("by_id", models.BigIntegerField(help_text="The user who asked for it.", null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("paid_at", models.DateTimeField(null=True)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to="ledger.account"
                    ),
                ),
            ],
            options={
                "verbose_name": "top-up",
                "db_table": "ledger_topup",
                "ordering": ["-id"],
                "permissions": [("refund_topup", "Can refund top-ups that were paid outside")],
                "default_permissions": ("view", "add"),
            },
        ),
        migrations.CreateModel(
            name="Refund",
            fields=[
                (
                    "source",
                    models.UUIDField(
                        help_text="Of its entry, which it has unless no credits moved.",
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "why",
                    models.CharField(
                        choices=[("refund", "Refund"), ("dispute", "Dispute"), ("dispute_won", "Dispute Won")],
                        max_length=16,
                    ),
                ),
                ("price_minor", models.BigIntegerField(help_text="Below 0: it came again.")),
                ("microcredits", models.BigIntegerField(help_text="Below 0: given again.")),
                ("by_id", models.BigIntegerField(null=True)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "top_up",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.DO_NOTHING, related_name="refunds", to="ledger.topup"
                    ),
                ),
            ],
            options={
                "db_table": "ledger_refund",
                "ordering": ["at", "source"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="PaymentEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("provider", models.CharField(max_length=16)),
                ("event_id", models.CharField(max_length=255)),
                ("kind", models.CharField(max_length=16)),
                ("payment", models.CharField(max_length=255)),
                ("price_minor", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("is_live", models.BooleanField()),
                ("outcome", models.CharField(max_length=16)),
                ("received_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "top_up",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to="ledger.topup"
                    ),
                ),
            ],
            options={
                "db_table": "ledger_paymentevent",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="CodeRedemption",
            fields=[
                ("source", models.UUIDField(help_text="Of its entry.", primary_key=True, serialize=False)),
                ("user_id", models.BigIntegerField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to="ledger.account"
                    ),
                ),
                (
                    "code",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="redemptions",
                        to="ledger.creditcode",
                    ),
                ),
            ],
            options={
                "db_table": "ledger_coderedemption",
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("code", "user_id"), name="ledger_coderedemption_once")],
            },
        ),
        migrations.CreateModel(
            name="Invoice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("year", models.IntegerField(help_text="In which it was issued.")),
                ("number", models.IntegerField(help_text="From 1, within its year.")),
                ("owner", models.CharField(help_text="As it was called when it was issued.", max_length=200)),
                ("period_start", models.DateField()),
                ("period_end", models.DateField(help_text="The day after its last.")),
                ("opening_microcredits", models.BigIntegerField()),
                ("closing_microcredits", models.BigIntegerField()),
                ("lines", models.JSONField(help_text="By kind: entries, debit, credit, in micro-credits.")),
                (
                    "payments",
                    models.JSONField(
                        help_text="Top-ups paid and refunded: at, reference, price_minor, currency, microcredits."
                    ),
                ),
                ("issued_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to="ledger.account"
                    ),
                ),
            ],
            options={
                "db_table": "ledger_invoice",
                "ordering": ["-id"],
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(fields=("year", "number"), name="ledger_invoice_number"),
                    models.UniqueConstraint(fields=("account", "period_start"), name="ledger_invoice_once"),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="topup",
            constraint=models.CheckConstraint(
                condition=models.Q(("microcredits__gt", 0), ("price_minor__gt", 0)), name="ledger_topup_amounts"
            ),
        ),
        migrations.AddConstraint(
            model_name="topup",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["pending", "paid", "failed", "refunded"])), name="ledger_topup_states"
            ),
        ),
        migrations.AddConstraint(
            model_name="topup",
            constraint=models.UniqueConstraint(
                condition=models.Q(("reference", ""), _negated=True),
                fields=("provider", "reference"),
                name="ledger_topup_reference",
            ),
        ),
        migrations.AddConstraint(
            model_name="topup",
            constraint=models.UniqueConstraint(
                condition=models.Q(("payment", ""), _negated=True),
                fields=("provider", "payment"),
                name="ledger_topup_payment",
            ),
        ),
        migrations.AddIndex(
            model_name="paymentevent",
            index=models.Index(fields=["provider", "payment"], name="ledger_paymentevent_payment"),
        ),
        migrations.AddConstraint(
            model_name="paymentevent",
            constraint=models.UniqueConstraint(fields=("provider", "event_id"), name="ledger_paymentevent_once"),
        ),
        *(guard(table) for table in ONLY_ADDED),
        audited("ledger_topup", "ledger.topup"),
        audited("ledger_creditcode", "ledger.creditcode", ignored=("uses",)),
        migrations.RunPython(widen_groups, migrations.RunPython.noop),
    ]
