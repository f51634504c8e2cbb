import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    """Keys, states of targets, alerts, and replays that run by themselves."""

    dependencies = [("deliveries", "0003_relay_plane")]

    operations = [
        migrations.CreateModel(
            name="Idempotency",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "endpoint_id", "key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("endpoint_id", models.BigIntegerField()),
                ("key", models.CharField(max_length=255)),
                ("request_id", models.UUIDField()),
                ("body_hash", models.BinaryField()),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "db_table": "deliveries_idempotency",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="TargetState",
            fields=[
                ("target_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("tat", models.DateTimeField(help_text="When its rate is paid up (GCRA).", null=True)),
                ("paused_until", models.DateTimeField(null=True)),
                (
                    "pause_reason",
                    models.CharField(blank=True, db_default="", help_text="retry_after or breaker.", max_length=24),
                ),
                ("breaker", models.CharField(db_default="closed", max_length=12)),
                ("opens", models.SmallIntegerField(db_default=0)),
                ("window_at", models.DateTimeField(null=True)),
                ("window_ok", models.IntegerField(db_default=0)),
                ("window_failed", models.IntegerField(db_default=0)),
                ("failing_since", models.DateTimeField(null=True)),
                ("consecutive_failures", models.IntegerField(db_default=0)),
            ],
            options={
                "db_table": "deliveries_targetstate",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="AlertRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("target_failing", "Target Failing"),
                            ("target_disabled", "Target Disabled"),
                            ("target_gone", "Target Gone"),
                            ("backlog_age", "Backlog Age"),
                            ("failure_queue_growth", "Failure Queue Growth"),
                            ("signature_misconfigured", "Signature Misconfigured"),
                            ("partition_missing", "Partition Missing"),
                        ],
                        max_length=24,
                    ),
                ),
                ("target_id", models.BigIntegerField(blank=True, help_text="Empty: any.", null=True)),
                ("threshold", models.IntegerField(db_default=0)),
                ("window_seconds", models.IntegerField(db_default=300)),
                ("is_enabled", models.BooleanField(db_default=True)),
                (
                    "endpoint",
                    models.ForeignKey(
                        help_text="Where alerts are sent.",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="catalog.endpoint",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="catalog.project",
                    ),
                ),
            ],
            options={
                "db_table": "deliveries_alertrule",
            },
        ),
        migrations.CreateModel(
            name="AlertEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("subject", models.CharField(help_text='For example "target:12".', max_length=64)),
                ("opened_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("last_seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("closed_at", models.DateTimeField(null=True)),
                ("request_id", models.UUIDField()),
                ("details", models.JSONField(default=dict)),
                (
                    "rule",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="events", to="deliveries.alertrule"
                    ),
                ),
            ],
            options={
                "db_table": "deliveries_alertevent",
                "ordering": ["-opened_at"],
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("closed_at__isnull", True)),
                        fields=("rule", "subject"),
                        name="deliveries_alert_open",
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="charge",
            field=models.CharField(db_default="free", max_length=12),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="credits_estimate",
            field=models.BigIntegerField(db_default=0, help_text="Micro-credits."),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="cursor",
            field=models.UUIDField(help_text="The last delivery looked at.", null=True),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="ended_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="filter",
            field=models.JSONField(
                default=dict, help_text='What was asked for; {"ids": [...]} where deliveries were named.'
            ),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="finished_count",
            field=models.IntegerField(db_default=0, help_text="Of those replayed, how many are over."),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="matched_count",
            field=models.IntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="next_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="note",
            field=models.CharField(blank=True, db_default="", max_length=200),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="pace_per_second",
            field=models.DecimalField(decimal_places=2, help_text="Empty: all at once.", max_digits=8, null=True),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="project",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="catalog.project"
            ),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="refused_count",
            field=models.IntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="started_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="state",
            field=models.CharField(db_default="done", help_text="running, paused, cancelled or done.", max_length=12),
        ),
        migrations.AddField(
            model_name="replaybatch",
            name="until",
            field=models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                help_text="Only what had ended before: never its own failures.",
            ),
        ),
        migrations.AlterField(
            model_name="replaybatch",
            name="replayed_count",
            field=models.IntegerField(db_default=0, help_text="Those that were still in the failure queue."),
        ),
        migrations.RunSQL("""
            UPDATE deliveries_replaybatch SET filter = jsonb_build_object('ids', delivery_ids || coalesce(
                    (SELECT jsonb_agg(key) FROM jsonb_object_keys(refused) AS key), '[]'::jsonb)),
                matched_count = requested_count, refused_count = requested_count - replayed_count,
                finished_count = replayed_count, started_at = created_at, ended_at = created_at, until = created_at
            """),
        migrations.RemoveField(
            model_name="replaybatch",
            name="delivery_ids",
        ),
        migrations.RemoveField(
            model_name="replaybatch",
            name="requested_count",
        ),
    ]
