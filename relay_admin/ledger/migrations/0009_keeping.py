from django.db import migrations, models


class Migration(migrations.Migration):
    """The keeper of the purses says how they are kept."""

    dependencies = [("ledger", "0008_key_use")]

    operations = [
        migrations.CreateModel(
            name="Keeping",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("closed_since", models.DateTimeField(help_text="Null: purses pay.", null=True)),
                (
                    "generation",
                    models.IntegerField(help_text="That is given, or was before money was closed."),
                ),
                ("open_generations", models.IntegerField()),
                ("edges", models.IntegerField(help_text="Edge processes that live.")),
            ],
            options={
                "db_table": "ledger_keeping",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="ledger_keeping_once"),
                ],
            },
        ),
    ]
