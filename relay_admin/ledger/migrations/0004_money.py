from django.db import migrations, models

from relay_admin.ledger.migrations._user_accounts_sql import ADD_ACCOUNT, COLUMNS, TAKE_OVER, TRIGGERS, UNDO


class Migration(migrations.Migration):
    """Users have accounts, and rows of projects and users know theirs."""

    dependencies = [
        ("ledger", "0003_groups"),
        ("catalog", "0009_money"),
        ("access", "0012_money"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(COLUMNS + ADD_ACCOUNT + TAKE_OVER + TRIGGERS, UNDO)],
            state_operations=[
                migrations.AddField(
                    model_name="account",
                    name="user_id",
                    field=models.BigIntegerField(help_text="Neither project nor user: the relay's own.", null=True),
                ),
                migrations.AlterField(model_name="account", name="project_id", field=models.BigIntegerField(null=True)),
                migrations.AddField(
                    model_name="charge",
                    name="generation",
                    field=models.IntegerField(help_text="Of the purses, of a hold that they gave.", null=True),
                ),
                migrations.AddField(
                    model_name="entry",
                    name="generation",
                    field=models.IntegerField(help_text="Of the purses, of a call that they let in.", null=True),
                ),
            ],
        ),
    ]
