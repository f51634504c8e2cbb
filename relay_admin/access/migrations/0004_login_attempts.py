from django.db import migrations, models


class Migration(migrations.Migration):
    """What slows down whoever guesses passwords: see `access/throttle.py`."""

    dependencies = [("access", "0003_groups")]

    operations = [
        migrations.CreateModel(
            name="LoginAttempts",
            fields=[
                (
                    "key",
                    models.BinaryField(
                        help_text="SHA-256: a password may be typed as a name.",
                        max_length=32,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("count", models.IntegerField()),
                ("allowed_at", models.DateTimeField(help_text="No earlier is a password looked at.")),
                ("last_at", models.DateTimeField(db_index=True)),
            ],
            options={"db_table": "access_loginattempts", "default_permissions": ()},
        ),
    ]
