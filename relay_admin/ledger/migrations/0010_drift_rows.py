from django.db import migrations, models


class Migration(migrations.Migration):
    """Drifts say which rows are behind them."""

    dependencies = [("ledger", "0009_keeping")]

    operations = [
        migrations.AddField(
            model_name="founddrift",
            name="rows",
            field=models.JSONField(db_default=[], help_text="The first that are behind it, as `drifts.Row` has them."),
        ),
        migrations.AddField(
            model_name="founddrift",
            name="row_count",
            field=models.BigIntegerField(db_default=0, help_text="Of all of them."),
        ),
    ]
