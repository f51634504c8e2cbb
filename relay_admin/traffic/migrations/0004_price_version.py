from django.db import migrations, models


class Migration(migrations.Migration):
    """By which rates a call was priced. An edge that still runs the version before writes 0."""

    dependencies = [("traffic", "0003_audio_seconds")]

    operations = [
        migrations.AddField(
            model_name="call",
            name="pricing_version",
            field=models.IntegerField(db_default=0, help_text="0: no price, or of a time before versions."),
        ),
        migrations.AddField(
            model_name="call",
            name="estimated_price",
            field=models.BooleanField(
                db_default=False, help_text="The binding has no price: it is the policy's estimate."
            ),
        ),
        migrations.AddIndex(
            model_name="call",
            index=models.Index(
                fields=["-received_at"],
                condition=models.Q(("cost_nanousd", None), models.Q(("usage_source", "none"), _negated=True)),
                name="traffic_call_unpriced",
            ),
        ),
    ]
