from django.db import migrations, models


class Migration(migrations.Migration):
    """Entries of calls name the application that made them."""

    dependencies = [("ledger", "0008_usage_payers")]

    operations = [
        migrations.AddField(
            model_name="entry",
            name="application_id",
            field=models.BigIntegerField(help_text="Of a call with an access token.", null=True),
        ),
    ]
