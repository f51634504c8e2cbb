from django.db import migrations, models

COLUMNS = ("project_id", "hour", "mode", "what", "relay_key_id", "user_id", "application_id", "model", "target_id")
ADD = f"""
ALTER TABLE ledger_usagedelta ADD COLUMN payer_id bigint NOT NULL DEFAULT 0;
ALTER TABLE ledger_usagehour ADD COLUMN payer_id bigint NOT NULL DEFAULT 0;
ALTER TABLE ledger_usagehour DROP CONSTRAINT ledger_usagehour_pkey, ADD PRIMARY KEY ({", ".join(COLUMNS)}, payer_id);
"""
UNDO = f"""
CREATE TEMPORARY TABLE hours ON COMMIT DROP AS
    SELECT {", ".join(COLUMNS)}, sum(calls) AS calls, sum(charge) AS charge, sum(cost) AS cost, sum(markup) AS markup,
        sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
        sum(cache_read_tokens) AS cache_read_tokens
    FROM ledger_usagehour GROUP BY {", ".join(COLUMNS)};
DELETE FROM ledger_usagehour;
ALTER TABLE ledger_usagehour DROP COLUMN payer_id, ADD PRIMARY KEY ({", ".join(COLUMNS)});
INSERT INTO ledger_usagehour ({", ".join(COLUMNS)}, calls, charge, cost, markup, input_tokens, output_tokens,
    cache_read_tokens) SELECT * FROM hours;
ALTER TABLE ledger_usagedelta DROP COLUMN payer_id;
"""  # noqa: S608 (constants)


class Migration(migrations.Migration):
    """Hours say which account was charged, so that users' shares of pools are known without their calls."""

    dependencies = [("ledger", "0007_purses")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(ADD, UNDO)],
            state_operations=[
                migrations.AddField(
                    model_name="usagedelta",
                    name="payer_id",
                    field=models.BigIntegerField(db_default=0, help_text="The account that a call was charged to."),
                ),
                migrations.DeleteModel(name="UsageHour"),
                migrations.CreateModel(
                    name="UsageHour",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                *COLUMNS, "payer_id", blank=True, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("hour", models.DateTimeField()),
                        ("project_id", models.BigIntegerField()),
                        ("mode", models.CharField(max_length=8)),
                        ("what", models.CharField(help_text="call, delivery", max_length=8)),
                        ("relay_key_id", models.BigIntegerField()),
                        ("user_id", models.BigIntegerField()),
                        ("application_id", models.BigIntegerField()),
                        ("model", models.CharField(max_length=128)),
                        ("target_id", models.BigIntegerField()),
                        (
                            "payer_id",
                            models.BigIntegerField(db_default=0, help_text="The account that a call was charged to."),
                        ),
                        ("calls", models.BigIntegerField()),
                        ("charge", models.BigIntegerField()),
                        ("cost", models.BigIntegerField()),
                        ("markup", models.BigIntegerField()),
                        ("input_tokens", models.BigIntegerField()),
                        ("output_tokens", models.BigIntegerField()),
                        ("cache_read_tokens", models.BigIntegerField()),
                    ],
                    options={"db_table": "ledger_usagehour", "default_permissions": ()},
                ),
            ],
        )
    ]
