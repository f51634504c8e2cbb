import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    """What documents said when they were applied last. Until the first apply nothing is known, and documents decide."""

    dependencies = [
        ("catalog", "0011_user_budget"),
    ]

    operations = [
        migrations.CreateModel(
            name="AppliedEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("section", models.CharField(max_length=16)),
                (
                    "path",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        help_text="Its names in a catalog document, from the outermost inwards.",
                        size=None,
                    ),
                ),
                (
                    "digests",
                    models.JSONField(help_text="Of each field's value. No value itself: some are credentials."),
                ),
                ("applied_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "db_table": "catalog_appliedentry",
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("section", "path"), name="catalog_appliedentry_once")],
            },
        ),
    ]
