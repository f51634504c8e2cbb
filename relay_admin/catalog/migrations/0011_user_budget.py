from django.db import migrations, models


class Migration(migrations.Migration):
    """A project says what each of its users may spend in it."""

    dependencies = [("catalog", "0010_key_life")]

    operations = [
        migrations.AddField(
            model_name="project",
            name="user_budget",
            field=models.JSONField(
                blank=True,
                help_text="What each of its users may spend in it in a day, week or month, UTC.",
                null=True,
            ),
        ),
    ]
