from django.db import migrations, models
from django.db.models.functions import Now

_FILL = """
INSERT INTO ledger_keyuse (relay_key_id, last_on)
SELECT relay_key_id, max((hour AT TIME ZONE 'UTC')::date) FROM ledger_usagehour WHERE relay_key_id > 0
GROUP BY relay_key_id
"""


class Migration(migrations.Migration):
    """The day on which each relay key was used last, and which wallets are known to be low."""

    dependencies = [
        ("ledger", "0008_application_of_entries"),
        ("access", "0015_key_successors"),
    ]

    operations = [
        migrations.CreateModel(
            name="KeyUse",
            fields=[
                (
                    "relay_key",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=models.DO_NOTHING,
                        primary_key=True,
                        related_name="use",
                        serialize=False,
                        to="access.relaykey",
                    ),
                ),
                ("last_on", models.DateField()),
            ],
            options={"db_table": "ledger_keyuse", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="LowBalanceTold",
            fields=[
                (
                    "account",
                    models.OneToOneField(
                        on_delete=models.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="ledger.account",
                    ),
                ),
                ("told_at", models.DateTimeField(db_default=Now())),
            ],
            options={"db_table": "ledger_lowtold", "default_permissions": ()},
        ),
        migrations.RunSQL(_FILL, migrations.RunSQL.noop),
    ]
