"""Accepted requests and what became of them. The failure queue is `Delivery.state = dead`, not a second queue.

The edge inserts requests, payloads and deliveries (`relay_contract.intake` names the columns); the workers claim and
record in raw SQL (`delivery/claims.py`); Django reads, and replays through `services.py`. Rows of the catalog can be
deleted while their history stays, so references carry no database constraint: that also keeps two index look-ups and a
row lock out of every insert.
"""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from relay_admin.access.models import RelayKey
from relay_admin.catalog.models import Endpoint, Project, Target, choices
from relay_contract import intake, nouns


class Request(models.Model):
    """An accepted call, as the caller knows it by its requestId."""

    id = models.UUIDField(primary_key=True)
    project = models.ForeignKey(Project, models.DO_NOTHING, db_constraint=False)
    endpoint = models.ForeignKey(Endpoint, models.DO_NOTHING, db_constraint=False, db_index=False)
    relay_key = models.ForeignKey(RelayKey, models.DO_NOTHING, db_constraint=False, db_index=False)
    mode = models.CharField(max_length=8, choices=choices(nouns.KeyMode))
    received_at = models.DateTimeField(db_index=True)
    caller_request_id = models.CharField(max_length=128, help_text="x-request-id, as the caller sent it.")
    client_ip = models.GenericIPAddressField("client IP")
    content_type = models.CharField(max_length=255)
    headers = models.JSONField(help_text="The caller's headers that travel on to each target.")
    body_bytes = models.IntegerField()
    target_count = models.IntegerField(help_text="0: no enabled target at that moment.")

    class Meta:
        db_table = intake.RequestRow.table
        ordering = ["-received_at"]
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["caller_request_id"], condition=~Q(caller_request_id=""), name="deliveries_caller_id"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Payload(models.Model):
    """A request's body, byte for byte."""

    request = models.OneToOneField(Request, models.CASCADE, primary_key=True, db_constraint=False)
    received_at = models.DateTimeField(db_index=True)
    body = models.BinaryField()

    class Meta:
        db_table = intake.PayloadRow.table
        default_permissions = ()
        permissions = [("view_payload", "Can read bodies and headers of requests, and answers of targets")]

    def __str__(self) -> str:
        return f"payload of {self.request_id}"


class DeadReason(models.TextChoices):
    """Why a delivery went to the failure queue."""

    ATTEMPTS_EXHAUSTED = "attempts_exhausted", "attempts exhausted"
    PERMANENT_FAILURE = "permanent_failure", "refused for good by the target"
    TARGET_GONE = "target_gone", "target answered 410 Gone"
    TARGET_DELETED = "target_deleted", "target was deleted"
    ADDRESS_REFUSED = "address_refused", "target's address may not be called"
    PAYLOAD_EXPIRED = "payload_expired", "body is past its retention"


class Delivery(models.Model):
    """One request on its way to one target."""

    id = models.UUIDField(primary_key=True)
    request = models.ForeignKey(Request, models.CASCADE, db_constraint=False, related_name="deliveries")
    project = models.ForeignKey(Project, models.DO_NOTHING, db_constraint=False, db_index=False)
    target = models.ForeignKey(Target, models.DO_NOTHING, db_constraint=False, db_index=False)
    shard = models.SmallIntegerField()
    state = models.CharField(max_length=16, choices=choices(intake.DeliveryState))
    created_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField(
        null=True, help_text="When a worker may take it; while sending, when its lease ends."
    )
    claim_id = models.UUIDField(
        null=True, help_text="The lease that may record a result: a fence against late workers."
    )
    attempt_count = models.IntegerField(
        db_default=0, help_text="Attempts begun since it was accepted or last replayed."
    )
    replay_count = models.IntegerField(db_default=0)
    finished_at = models.DateTimeField(null=True)
    dead_reason = models.CharField(max_length=32, choices=DeadReason.choices, db_default="", blank=True)
    last_status = models.IntegerField(null=True, help_text="The target's last HTTP status.")
    last_error = models.CharField(max_length=64, db_default="", blank=True, help_text="Why there was no status.")

    class Meta:
        db_table = intake.DeliveryRow.table
        ordering = ["-created_at"]
        verbose_name_plural = "deliveries"
        default_permissions = ("view",)
        permissions = [("replay_delivery", "Can replay deliveries from the failure queue")]
        indexes = [
            models.Index(
                fields=["shard", "next_attempt_at"],
                condition=Q(state__in=[str(state) for state in intake.LIVE_STATES]),
                name="deliveries_due",
            ),
            models.Index(
                fields=["-finished_at"], condition=Q(state=str(intake.DeliveryState.DEAD)), name="deliveries_dead"
            ),
            models.Index(fields=["-created_at"], name="deliveries_newest"),
        ]
        constraints = [
            models.CheckConstraint(
                name="deliveries_live_is_due",
                condition=~Q(state__in=[str(state) for state in intake.LIVE_STATES]) | Q(next_attempt_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class DeadDelivery(Delivery):
    """The failure queue as a page of its own. It carries no permissions: `view_delivery` and `replay_delivery` rule."""

    class Meta:
        proxy = True
        ordering = ["-finished_at"]
        default_permissions = ()
        verbose_name = "failed delivery"
        verbose_name_plural = "failure queue"


class AttemptOutcome(models.TextChoices):
    """What one try came to."""

    DELIVERED = "delivered"
    RETRY = "retry", "failed, tried again"
    DEAD = "dead", "failed, to the failure queue"
    LEASE_LOST = "lease_lost", "worker died or was cut off; tried again"


class Attempt(models.Model):
    """One try to deliver."""

    delivery = models.ForeignKey(Delivery, models.CASCADE, db_constraint=False, related_name="attempts")
    number = models.IntegerField(help_text="From 1, since it was accepted or last replayed.")
    replay = models.IntegerField(help_text="How often it had been replayed before.")
    outcome = models.CharField(max_length=16, choices=AttemptOutcome.choices)
    started_at = models.DateTimeField()
    duration_ms = models.IntegerField()
    url = models.CharField("URL", max_length=2048)
    status = models.IntegerField(null=True)
    error = models.CharField(max_length=64, blank=True)
    response_body = models.BinaryField(help_text="The start of the target's answer.")
    is_response_cut = models.BooleanField()

    class Meta:
        db_table = "deliveries_attempt"
        default_permissions = ("view",)
        ordering = ["delivery", "replay", "number"]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.delivery_id}"


class ReplayBatch(models.Model):
    """Who made which deliveries due again, and when. The audit row of a replay."""

    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(db_default=Now(), db_index=True)
    requested_count = models.IntegerField()
    replayed_count = models.IntegerField(help_text="Those that were still in the failure queue.")
    delivery_ids = models.JSONField(help_text="Those that were replayed.")
    refused = models.JSONField(default=dict, help_text="Delivery id -> why it stayed in the failure queue.")

    class Meta:
        db_table = "deliveries_replaybatch"
        default_permissions = ("view",)
        ordering = ["-created_at"]
        verbose_name = "replay batch"
        verbose_name_plural = "replay batches"

    def __str__(self) -> str:
        return f"replay {self.id}"
