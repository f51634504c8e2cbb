import django.db.models.functions.datetime
from django.db import migrations, models

TABLE = """
CREATE TABLE ledger_charge (
    delivery_id uuid NOT NULL,
    replay smallint NOT NULL,
    phase smallint NOT NULL,
    kind varchar(8) NOT NULL,
    request_id uuid NOT NULL,
    project_id bigint NOT NULL,
    relay_key_id bigint,
    target_id bigint NOT NULL,
    key_mode varchar(8) NOT NULL,
    micro_credits bigint NOT NULL,
    units integer NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (delivery_id, replay, phase),
    CONSTRAINT ledger_charge_kinds CHECK (kind IN ('hold', 'settle', 'release')),
    CONSTRAINT ledger_charge_phases CHECK ((phase = 0 AND kind = 'hold') OR (phase = 1 AND kind <> 'hold')),
    CONSTRAINT ledger_charge_amounts CHECK (micro_credits >= 0)
) PARTITION BY RANGE (delivery_id);
CREATE TABLE ledger_charge_default PARTITION OF ledger_charge DEFAULT;

CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is only ever added to' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON ledger_charge
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse();
"""


class Migration(migrations.Migration):
    """One table that is only added to. Its daily partitions are made with those of the deliveries."""

    initial = True

    dependencies = []

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(TABLE)],
            state_operations=[
                migrations.CreateModel(
                    name="Charge",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "delivery_id",
                                "replay",
                                "phase",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("delivery_id", models.UUIDField()),
                        ("replay", models.SmallIntegerField()),
                        ("phase", models.SmallIntegerField(help_text="0: hold, 1: close.")),
                        (
                            "kind",
                            models.CharField(
                                choices=[("hold", "Hold"), ("settle", "Settle"), ("release", "Release")], max_length=8
                            ),
                        ),
                        ("request_id", models.UUIDField()),
                        ("project_id", models.BigIntegerField()),
                        (
                            "relay_key_id",
                            models.BigIntegerField(help_text="Of a hold; a close is read with its hold.", null=True),
                        ),
                        ("target_id", models.BigIntegerField()),
                        ("key_mode", models.CharField(max_length=8)),
                        ("micro_credits", models.BigIntegerField()),
                        ("units", models.IntegerField()),
                        ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                    ],
                    options={
                        "db_table": "ledger_charge",
                        "default_permissions": ("view",),
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(("kind__in", ["hold", "settle", "release"])),
                                name="ledger_charge_kinds",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(
                                    models.Q(("phase", 0), ("kind", "hold")),
                                    models.Q(("phase", 1), models.Q(("kind", "hold"), _negated=True)),
                                    _connector="OR",
                                ),
                                name="ledger_charge_phases",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(("micro_credits__gte", 0)), name="ledger_charge_amounts"
                            ),
                        ],
                    },
                ),
            ],
        ),
    ]
