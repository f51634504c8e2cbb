import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Calls say what they are charged, and to whom. An edge that still runs the version before writes none of it."""

    dependencies = [
        ("access", "0012_money"),
        ("traffic", "0004_price_version"),
    ]

    operations = [
        migrations.AddField(
            model_name="call",
            name="application_id",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="call",
            name="charge_microcredits",
            field=models.BigIntegerField(db_default=0, help_text="Cost and mark-up."),
        ),
        migrations.AddField(
            model_name="call",
            name="generation",
            field=models.IntegerField(help_text="Of the purses that it was admitted under.", null=True),
        ),
        migrations.AddField(
            model_name="call",
            name="markup_microcredits",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="call",
            name="payer_id",
            field=models.BigIntegerField(help_text="The account that is charged.", null=True),
        ),
        migrations.AddField(
            model_name="call",
            name="terms_id",
            field=models.BigIntegerField(help_text="How the mark-up is shared.", null=True),
        ),
        migrations.AlterField(
            model_name="call",
            name="relay_key",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="access.relaykey",
            ),
        ),
    ]
