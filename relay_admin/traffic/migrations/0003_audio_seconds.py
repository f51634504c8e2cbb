from django.db import migrations, models


class Migration(migrations.Migration):
    """Sound that is billed by its length. An edge that still runs the version before writes 0."""

    dependencies = [
        ("traffic", "0002_groups"),
    ]

    operations = [
        migrations.AddField(
            model_name="call",
            name="input_audio_seconds",
            field=models.BigIntegerField(db_default=0),
        ),
    ]
