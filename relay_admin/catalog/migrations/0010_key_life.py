import django.core.validators
from django.db import migrations, models

_DAYS = [django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(3650)]


class Migration(migrations.Migration):
    """How long the relay keys of a project live."""

    dependencies = [
        ("catalog", "0009_money"),
    ]

    operations = [
        migrations.AddField(
            model_name="project",
            name="key_life_days",
            field=models.IntegerField(
                blank=True,
                help_text="Of new keys that nobody says a date for. Empty: no end.",
                null=True,
                validators=_DAYS,
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="longest_key_life_days",
            field=models.IntegerField(
                blank=True, help_text="Of keys that expire. Empty: any.", null=True, validators=_DAYS
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="endless_keys",
            field=models.CharField(
                choices=[("anyone", "anyone"), ("admins", "admins"), ("operators", "operators")],
                db_default="anyone",
                default="anyone",
                help_text=(
                    "Who may make keys that never expire: anyone who may make keys, admins of the project,"
                    " or operators."
                ),
                max_length=16,
            ),
        ),
    ]
