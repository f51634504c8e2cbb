import time
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import django.db.models.deletion
from django.db import migrations, models

from relay_admin.deliveries.migrations import _relay_plane_sql as sql

MAX_DAYS_BACK = 60
DAYS_AHEAD = 7


def _bound(day: date) -> UUID:
    return UUID(int=int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000 << 80)


def partition(_apps, schema_editor):
    """A partition for each day that has rows to move and for the days to come; older rows go into the default ones."""
    today = datetime.now(UTC).date()
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(sql.OLDEST)
        (oldest,) = cursor.fetchone()
        oldest_ms = UUID(oldest).int >> 80 if oldest else time.time_ns() // 1_000_000
        days_back = (time.time_ns() // 1_000_000 - oldest_ms) // 86_400_000 + 1 if oldest else 0
        for table in sql.DAILY:
            if table != "ledger_charge":  # made with its table
                cursor.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
            for offset in range(-min(max(days_back, 0), MAX_DAYS_BACK), DAYS_AHEAD + 1):
                day = today + timedelta(days=offset)
                cursor.execute(
                    f"CREATE TABLE {table}_{day:%Y%m%d} PARTITION OF {table}"
                    f" FOR VALUES FROM ('{_bound(day)}') TO ('{_bound(day + timedelta(days=1))}')"
                )


class Migration(migrations.Migration):
    """Queue and history become two tables, and everything that is kept by time gets daily partitions.

    Moves what is there in one transaction, each table in one statement. Edge and workers of the version before must
    have stopped.
    """

    dependencies = [
        ("access", "0006_catalog_groups"),
        ("catalog", "0005_seeded_names"),
        ("deliveries", "0002_storage"),
        ("ledger", "0001_initial"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(sql.SET_ASIDE),
                migrations.RunSQL(sql.TABLES),
                migrations.RunPython(partition),
                migrations.RunSQL(sql.MOVE),
            ],
            state_operations=[
                *(
                    migrations.DeleteModel(name)
                    for name in ("DeadDelivery", "Attempt", "Delivery", "Payload", "Request")
                ),
                migrations.CreateModel(
                    name="Request",
                    fields=[
                        ("id", models.UUIDField(primary_key=True, serialize=False)),
                        ("mode", models.CharField(choices=[("live", "live"), ("test", "test")], max_length=8)),
                        (
                            "origin",
                            models.CharField(
                                choices=[("caller", "caller"), ("alert", "alert")], db_default="caller", max_length=8
                            ),
                        ),
                        ("received_at", models.DateTimeField()),
                        ("revision", models.IntegerField(db_default=0, help_text="Of the line's configuration.")),
                        ("method", models.CharField(max_length=8)),
                        ("path", models.CharField(max_length=512)),
                        ("query", models.CharField(blank=True, db_default="", max_length=2048)),
                        ("event_type", models.CharField(blank=True, db_default="", max_length=128)),
                        (
                            "caller_request_id",
                            models.CharField(help_text="x-request-id, as the caller sent it.", max_length=128),
                        ),
                        ("client_ip", models.GenericIPAddressField(verbose_name="client IP")),
                        ("content_type", models.CharField(max_length=255)),
                        ("headers", models.JSONField(help_text="The caller's headers that travel on to each target.")),
                        ("body_bytes", models.IntegerField()),
                        ("target_count", models.IntegerField(help_text="0: no enabled target at that moment.")),
                        (
                            "filtered_count",
                            models.SmallIntegerField(
                                db_default=0, help_text="Targets whose conditions it did not meet."
                            ),
                        ),
                        (
                            "status",
                            models.SmallIntegerField(
                                help_text="What the caller was answered; 0: see the end of the call."
                            ),
                        ),
                        ("error", models.CharField(blank=True, db_default="", max_length=40)),
                        ("idempotency_key", models.CharField(blank=True, db_default="", max_length=255)),
                        (
                            "accept_us",
                            models.IntegerField(
                                db_default=0, help_text="From the call's beginning to its commit's, microseconds."
                            ),
                        ),
                        (
                            "endpoint",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="catalog.endpoint",
                            ),
                        ),
                        (
                            "line",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="catalog.line",
                            ),
                        ),
                        (
                            "project",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="catalog.project",
                            ),
                        ),
                        (
                            "relay_key",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="access.relaykey",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "deliveries_request",
                        "ordering": ["-id"],
                        "default_permissions": ("view",),
                    },
                ),
                migrations.CreateModel(
                    name="Payload",
                    fields=[
                        (
                            "request",
                            models.OneToOneField(
                                db_constraint=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                primary_key=True,
                                serialize=False,
                                to="deliveries.request",
                            ),
                        ),
                        ("received_at", models.DateTimeField()),
                        ("body", models.BinaryField()),
                    ],
                    options={
                        "db_table": "deliveries_payload",
                        "permissions": [
                            ("view_payload", "Can read bodies and headers of requests, and answers of targets")
                        ],
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Delivery",
                    fields=[
                        ("id", models.UUIDField(primary_key=True, serialize=False)),
                        ("shard", models.SmallIntegerField()),
                        ("mode", models.CharField(max_length=8)),
                        ("is_shadow", models.BooleanField(db_default=False)),
                        ("is_compared", models.BooleanField(db_default=False)),
                        ("key_mode", models.CharField(choices=[("live", "live"), ("test", "test")], max_length=8)),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("pending", "pending"),
                                    ("sending", "sending"),
                                    ("waiting", "waiting"),
                                    ("held", "held"),
                                    ("delivered", "delivered"),
                                    ("dead", "dead"),
                                    ("discarded", "discarded"),
                                ],
                                max_length=16,
                            ),
                        ),
                        (
                            "revision",
                            models.IntegerField(help_text="Of the line's configuration, when it was accepted."),
                        ),
                        ("created_at", models.DateTimeField()),
                        (
                            "next_attempt_at",
                            models.DateTimeField(
                                help_text="When a worker may take it; while sending, when its lease ends.", null=True
                            ),
                        ),
                        ("expires_at", models.DateTimeField(help_text="After this it is not tried again.")),
                        ("ordering_key", models.CharField(max_length=255, null=True)),
                        ("body_bytes", models.IntegerField()),
                        ("credits", models.BigIntegerField(help_text="Held for it, micro-credits.")),
                        (
                            "claim_id",
                            models.UUIDField(
                                help_text="The lease that may record a result: a fence against late workers.", null=True
                            ),
                        ),
                        (
                            "attempt_count",
                            models.IntegerField(
                                db_default=0, help_text="Attempts begun since it was accepted or last replayed."
                            ),
                        ),
                        (
                            "deferral_count",
                            models.IntegerField(
                                db_default=0, help_text="How often it had to wait for room at its target."
                            ),
                        ),
                        ("replay_count", models.SmallIntegerField(db_default=0)),
                        ("replay_batch_id", models.BigIntegerField(null=True)),
                        (
                            "was_contacted",
                            models.BooleanField(
                                db_default=False, help_text="A target may have seen it, since its last replay."
                            ),
                        ),
                        ("last_status", models.IntegerField(help_text="The target's last HTTP status.", null=True)),
                        (
                            "last_error",
                            models.CharField(
                                blank=True, db_default="", help_text="Why there was no status.", max_length=64
                            ),
                        ),
                        ("finished_at", models.DateTimeField(null=True)),
                        (
                            "dead_reason",
                            models.CharField(
                                blank=True,
                                choices=[
                                    ("attempts_exhausted", "attempts exhausted"),
                                    ("permanent_failure", "refused for good by the target"),
                                    ("target_gone", "target answered 410 Gone"),
                                    ("target_deleted", "target was deleted"),
                                    ("address_refused", "target's address may not be called"),
                                    ("payload_expired", "body is past its retention"),
                                    ("expired", "not delivered in its time"),
                                    ("unknown_outcome", "lost with the process that sent it; not sent again"),
                                    ("no_answer_in_time", "its caller's deadline passed before it was sent"),
                                    ("no_room", "the target took nothing at that moment"),
                                    ("blocked_key", "behind one of its ordering key that failed"),
                                    ("discarded_by_operator", "discarded by an operator"),
                                ],
                                db_default="",
                                max_length=32,
                            ),
                        ),
                        ("duration_ms", models.IntegerField(help_text="Of its last attempt.", null=True)),
                    ],
                    options={
                        "verbose_name_plural": "deliveries",
                        "db_table": "deliveries_delivery",
                        "ordering": ["-id"],
                        "permissions": [("replay_delivery", "Can replay deliveries from the failure queue")],
                        "abstract": False,
                        "managed": False,
                        "default_permissions": ("view",),
                    },
                ),
                migrations.CreateModel(
                    name="DeadDelivery",
                    fields=[],
                    options={
                        "verbose_name": "failed delivery",
                        "verbose_name_plural": "failure queue",
                        "ordering": ["-finished_at", "-id"],
                        "proxy": True,
                        "default_permissions": (),
                        "indexes": [],
                        "constraints": [],
                    },
                    bases=("deliveries.delivery",),
                ),
                migrations.CreateModel(
                    name="Attempt",
                    fields=[
                        ("id", models.UUIDField(primary_key=True, serialize=False)),
                        ("number", models.IntegerField(help_text="From 1, since it was accepted or last replayed.")),
                        ("replay", models.SmallIntegerField(help_text="How often it had been replayed before.")),
                        (
                            "outcome",
                            models.CharField(
                                choices=[
                                    ("delivered", "Delivered"),
                                    ("retry", "failed, tried again"),
                                    ("dead", "failed, to the failure queue"),
                                    ("lease_lost", "worker died or was cut off; tried again"),
                                    ("late", "came after its lease had ended; it decided nothing"),
                                ],
                                max_length=16,
                            ),
                        ),
                        ("started_at", models.DateTimeField()),
                        ("duration_ms", models.IntegerField()),
                        ("connect_ms", models.IntegerField(null=True)),
                        ("first_byte_ms", models.IntegerField(null=True)),
                        ("url", models.CharField(max_length=2048, verbose_name="URL")),
                        ("status", models.IntegerField(null=True)),
                        ("error", models.CharField(blank=True, max_length=64)),
                        (
                            "revision",
                            models.IntegerField(
                                db_default=0, help_text="Of the line's configuration it was made under."
                            ),
                        ),
                        ("target_version", models.BigIntegerField(db_default=0)),
                        ("response_headers", models.JSONField(null=True)),
                        ("response_body", models.BinaryField(help_text="The start of the target's answer.")),
                        ("is_response_cut", models.BooleanField()),
                        (
                            "delivery",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="attempts",
                                to="deliveries.delivery",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "deliveries_attempt",
                        "ordering": ["delivery_id", "replay", "number", "id"],
                        "default_permissions": ("view",),
                    },
                ),
                migrations.CreateModel(
                    name="LiveDelivery",
                    fields=[
                        ("id", models.UUIDField(primary_key=True, serialize=False)),
                        ("shard", models.SmallIntegerField()),
                        ("mode", models.CharField(max_length=8)),
                        ("is_shadow", models.BooleanField(db_default=False)),
                        ("is_compared", models.BooleanField(db_default=False)),
                        ("key_mode", models.CharField(choices=[("live", "live"), ("test", "test")], max_length=8)),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("pending", "pending"),
                                    ("sending", "sending"),
                                    ("waiting", "waiting"),
                                    ("held", "held"),
                                    ("delivered", "delivered"),
                                    ("dead", "dead"),
                                    ("discarded", "discarded"),
                                ],
                                max_length=16,
                            ),
                        ),
                        (
                            "revision",
                            models.IntegerField(help_text="Of the line's configuration, when it was accepted."),
                        ),
                        ("created_at", models.DateTimeField()),
                        ("expires_at", models.DateTimeField(help_text="After this it is not tried again.")),
                        ("ordering_key", models.CharField(max_length=255, null=True)),
                        ("body_bytes", models.IntegerField()),
                        ("credits", models.BigIntegerField(help_text="Held for it, micro-credits.")),
                        (
                            "claim_id",
                            models.UUIDField(
                                help_text="The lease that may record a result: a fence against late workers.", null=True
                            ),
                        ),
                        (
                            "attempt_count",
                            models.IntegerField(
                                db_default=0, help_text="Attempts begun since it was accepted or last replayed."
                            ),
                        ),
                        (
                            "deferral_count",
                            models.IntegerField(
                                db_default=0, help_text="How often it had to wait for room at its target."
                            ),
                        ),
                        ("replay_count", models.SmallIntegerField(db_default=0)),
                        ("replay_batch_id", models.BigIntegerField(null=True)),
                        (
                            "was_contacted",
                            models.BooleanField(
                                db_default=False, help_text="A target may have seen it, since its last replay."
                            ),
                        ),
                        ("last_status", models.IntegerField(help_text="The target's last HTTP status.", null=True)),
                        (
                            "last_error",
                            models.CharField(
                                blank=True, db_default="", help_text="Why there was no status.", max_length=64
                            ),
                        ),
                        ("next_attempt_at", models.DateTimeField()),
                        (
                            "project",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="catalog.project",
                            ),
                        ),
                        (
                            "target",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="catalog.target",
                            ),
                        ),
                        (
                            "request",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="deliveries.request",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "deliveries_live",
                        "abstract": False,
                        "default_permissions": (),
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(("state__in", ["pending", "sending", "waiting", "held"])),
                                name="deliveries_live_states",
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="FinishedDelivery",
                    fields=[
                        ("id", models.UUIDField(primary_key=True, serialize=False)),
                        ("shard", models.SmallIntegerField()),
                        ("mode", models.CharField(max_length=8)),
                        ("is_shadow", models.BooleanField(db_default=False)),
                        ("is_compared", models.BooleanField(db_default=False)),
                        ("key_mode", models.CharField(choices=[("live", "live"), ("test", "test")], max_length=8)),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("pending", "pending"),
                                    ("sending", "sending"),
                                    ("waiting", "waiting"),
                                    ("held", "held"),
                                    ("delivered", "delivered"),
                                    ("dead", "dead"),
                                    ("discarded", "discarded"),
                                ],
                                max_length=16,
                            ),
                        ),
                        (
                            "revision",
                            models.IntegerField(help_text="Of the line's configuration, when it was accepted."),
                        ),
                        ("created_at", models.DateTimeField()),
                        (
                            "next_attempt_at",
                            models.DateTimeField(
                                help_text="When a worker may take it; while sending, when its lease ends.", null=True
                            ),
                        ),
                        ("expires_at", models.DateTimeField(help_text="After this it is not tried again.")),
                        ("ordering_key", models.CharField(max_length=255, null=True)),
                        ("body_bytes", models.IntegerField()),
                        ("credits", models.BigIntegerField(help_text="Held for it, micro-credits.")),
                        (
                            "claim_id",
                            models.UUIDField(
                                help_text="The lease that may record a result: a fence against late workers.", null=True
                            ),
                        ),
                        (
                            "attempt_count",
                            models.IntegerField(
                                db_default=0, help_text="Attempts begun since it was accepted or last replayed."
                            ),
                        ),
                        (
                            "deferral_count",
                            models.IntegerField(
                                db_default=0, help_text="How often it had to wait for room at its target."
                            ),
                        ),
                        ("replay_count", models.SmallIntegerField(db_default=0)),
                        ("replay_batch_id", models.BigIntegerField(null=True)),
                        (
                            "was_contacted",
                            models.BooleanField(
                                db_default=False, help_text="A target may have seen it, since its last replay."
                            ),
                        ),
                        ("last_status", models.IntegerField(help_text="The target's last HTTP status.", null=True)),
                        (
                            "last_error",
                            models.CharField(
                                blank=True, db_default="", help_text="Why there was no status.", max_length=64
                            ),
                        ),
                        (
                            "dead_reason",
                            models.CharField(
                                blank=True,
                                choices=[
                                    ("attempts_exhausted", "attempts exhausted"),
                                    ("permanent_failure", "refused for good by the target"),
                                    ("target_gone", "target answered 410 Gone"),
                                    ("target_deleted", "target was deleted"),
                                    ("address_refused", "target's address may not be called"),
                                    ("payload_expired", "body is past its retention"),
                                    ("expired", "not delivered in its time"),
                                    ("unknown_outcome", "lost with the process that sent it; not sent again"),
                                    ("no_answer_in_time", "its caller's deadline passed before it was sent"),
                                    ("no_room", "the target took nothing at that moment"),
                                    ("blocked_key", "behind one of its ordering key that failed"),
                                    ("discarded_by_operator", "discarded by an operator"),
                                ],
                                db_default="",
                                max_length=32,
                            ),
                        ),
                        ("duration_ms", models.IntegerField(help_text="Of its last attempt.", null=True)),
                        ("finished_at", models.DateTimeField()),
                        (
                            "project",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="catalog.project",
                            ),
                        ),
                        (
                            "target",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="catalog.target",
                            ),
                        ),
                        (
                            "request",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="deliveries.request",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "deliveries_finished",
                        "abstract": False,
                        "default_permissions": (),
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(("state__in", ["delivered", "dead", "discarded"])),
                                name="deliveries_finished_states",
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="RequestEnd",
                    fields=[
                        ("id", models.UUIDField(primary_key=True, serialize=False)),
                        ("delivery_id", models.UUIDField(null=True)),
                        ("received_at", models.DateTimeField()),
                        ("status", models.SmallIntegerField()),
                        ("error", models.CharField(blank=True, max_length=40)),
                        ("target_status", models.IntegerField(null=True)),
                        ("first_byte_us", models.IntegerField(null=True)),
                        ("total_us", models.BigIntegerField()),
                        ("bytes_out", models.BigIntegerField()),
                        ("heartbeats", models.IntegerField()),
                        ("close_reason", models.CharField(blank=True, max_length=24)),
                        ("is_stream", models.BooleanField()),
                        ("url", models.CharField(max_length=2048)),
                    ],
                    options={
                        "db_table": "deliveries_requestend",
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Answer",
                    fields=[
                        ("delivery_id", models.UUIDField(primary_key=True, serialize=False)),
                        ("request_id", models.UUIDField()),
                        ("status", models.IntegerField()),
                        ("headers", models.JSONField()),
                        ("body", models.BinaryField()),
                        ("is_cut", models.BooleanField()),
                        ("duration_ms", models.IntegerField()),
                        ("at", models.DateTimeField()),
                    ],
                    options={
                        "db_table": "deliveries_answer",
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Comparison",
                    fields=[
                        ("delivery_id", models.UUIDField(primary_key=True, serialize=False)),
                        ("request_id", models.UUIDField()),
                        ("target_id", models.BigIntegerField()),
                        ("baseline_target_id", models.BigIntegerField()),
                        ("revision", models.IntegerField()),
                        ("at", models.DateTimeField()),
                        (
                            "verdict",
                            models.CharField(
                                help_text="same, status, body, both, no_answer or not_json.", max_length=12
                            ),
                        ),
                        ("status", models.IntegerField(null=True)),
                        ("baseline_status", models.IntegerField(null=True)),
                        ("duration_ms", models.IntegerField(null=True)),
                        ("baseline_duration_ms", models.IntegerField(null=True)),
                        ("differences", models.JSONField()),
                    ],
                    options={
                        "db_table": "deliveries_comparison",
                        "default_permissions": (),
                    },
                ),
            ],
        ),
    ]
