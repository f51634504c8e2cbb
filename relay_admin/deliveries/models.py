"""Calls to relay endpoints and what became of them. The failure queue is `Delivery.state = dead`, not a second queue.

The edge inserts requests, payloads and deliveries (`relay_contract.intake` names the columns); the workers claim and
record in raw SQL (`delivery/claims.py`); Django reads, and replays through `services.py`.

A delivery is a row of the queue (`LiveDelivery`) until it is over and a row of history (`FinishedDelivery`) then, so
that no length of history slows a claim. `Delivery` is a view of both, to read from. History is kept in daily partitions
by id (`storage.py`): what is looked up by request or delivery should bound the id as well, and then reads one of them.

Rows of the catalog can be deleted while their history stays, so references carry no database constraint: that also
keeps two index look-ups and a row lock out of every insert. Partitions are dropped and never cascade.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from relay_admin.access.models import RelayKey
from relay_admin.catalog.models import Endpoint, Line, Project, Target, choices
from relay_admin.deliveries.replays import ReplayCharge, ReplayState
from relay_contract import intake, nouns, traffic


def _reference(to: type[models.Model] | str, **options: Any) -> Any:
    """To a row that may be gone. Any: Django's descriptors have no type of their own here."""
    return models.ForeignKey(
        to, models.DO_NOTHING, db_constraint=False, db_index=False, **{"related_name": "+"} | options
    )


class Request(models.Model):
    """A call, as the caller knows it by its requestId. Accepted, or refused after its caller was known."""

    id = models.UUIDField(primary_key=True)
    project = _reference(Project)
    line = _reference(Line, null=True)
    endpoint = _reference(Endpoint, null=True)
    relay_key = _reference(RelayKey, null=True)
    mode = models.CharField(max_length=8, choices=choices(nouns.KeyMode))
    origin = models.CharField(max_length=8, choices=choices(intake.Origin), db_default=str(intake.Origin.CALLER))
    received_at = models.DateTimeField()
    revision = models.IntegerField(db_default=0, help_text="Of the line's configuration.")
    method = models.CharField(max_length=8)
    path = models.CharField(max_length=512)
    query = models.CharField(max_length=2048, db_default="", blank=True)
    event_type = models.CharField(max_length=128, db_default="", blank=True)
    caller_request_id = models.CharField(max_length=128, help_text="x-request-id, as the caller sent it.")
    client_ip = models.GenericIPAddressField("client IP")
    content_type = models.CharField(max_length=255)
    headers = models.JSONField(help_text="The caller's headers that travel on to each target.")
    body_bytes = models.IntegerField()
    target_count = models.IntegerField(help_text="0: no enabled target at that moment.")
    filtered_count = models.SmallIntegerField(db_default=0, help_text="Targets whose conditions it did not meet.")
    status = models.SmallIntegerField(help_text="What the caller was answered; 0: see the end of the call.")
    error = models.CharField(max_length=40, db_default="", blank=True)
    idempotency_key = models.CharField(max_length=255, db_default="", blank=True)
    accept_us = models.IntegerField(db_default=0, help_text="From the call's beginning to its commit's, microseconds.")

    class Meta:
        db_table = intake.RequestRow.table
        ordering = ["-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.id)


class Payload(models.Model):
    """A request's body, byte for byte."""

    request = models.OneToOneField(Request, models.DO_NOTHING, primary_key=True, db_constraint=False)
    received_at = models.DateTimeField()
    body = models.BinaryField()

    class Meta:
        db_table = intake.PayloadRow.table
        default_permissions = ()
        permissions = [("view_payload", "Can read bodies and headers of requests, and answers of targets")]

    def __str__(self) -> str:
        return f"payload of {self.request_id}"


class StatementNow(models.Func):
    """This moment, also within a longer transaction: what Postgres calls the clock's."""

    function = "clock_timestamp"
    arity = 0
    output_field = models.DateTimeField()


DEAD_REASONS = {
    intake.DeadReason.ATTEMPTS_EXHAUSTED: "attempts exhausted",
    intake.DeadReason.PERMANENT_FAILURE: "refused for good by the target",
    intake.DeadReason.TARGET_GONE: "target answered 410 Gone",
    intake.DeadReason.TARGET_DELETED: "target was deleted",
    intake.DeadReason.ADDRESS_REFUSED: "target's address may not be called",
    intake.DeadReason.PAYLOAD_EXPIRED: "body is past its retention",
    intake.DeadReason.MAPPING_FAILED: "the target's mapping does not fit the body",
    intake.DeadReason.EXPIRED: "not delivered in its time",
    intake.DeadReason.UNKNOWN_OUTCOME: "lost with the process that sent it; not sent again",
    intake.DeadReason.NO_ANSWER_IN_TIME: "its caller's deadline passed before it was sent",
    intake.DeadReason.NO_ROOM: "the target took nothing at that moment",
    intake.DeadReason.BLOCKED_KEY: "behind one of its ordering key that failed",
    intake.DeadReason.DISCARDED_BY_OPERATOR: "discarded by an operator",
}


class DeliveryColumns(models.Model):
    """One request on its way to one target: what the queue and history have in common."""

    id = models.UUIDField(primary_key=True)
    request = _reference(Request)
    project = _reference(Project)
    target = _reference(Target)
    shard = models.SmallIntegerField()
    mode = models.CharField(max_length=8)
    is_shadow = models.BooleanField(db_default=False)
    is_compared = models.BooleanField(db_default=False)
    key_mode = models.CharField(max_length=8, choices=choices(nouns.KeyMode))
    state = models.CharField(max_length=16, choices=choices(intake.DeliveryState))
    revision = models.IntegerField(help_text="Of the line's configuration, when it was accepted.")
    created_at = models.DateTimeField()
    next_attempt_at: Any = models.DateTimeField(
        null=True, help_text="When a worker may take it; while sending, when its lease ends."
    )
    expires_at = models.DateTimeField(help_text="After this it is not tried again.")
    ordering_key = models.CharField(max_length=255, null=True)  # NULL: no entry in its index
    body_bytes = models.IntegerField()
    credits = models.BigIntegerField(help_text="Held for it, micro-credits.")
    claim_id = models.UUIDField(
        null=True, help_text="The lease that may record a result: a fence against late workers."
    )
    attempt_count = models.IntegerField(
        db_default=0, help_text="Attempts begun since it was accepted or last replayed."
    )
    deferral_count = models.IntegerField(db_default=0, help_text="How often it had to wait for room at its target.")
    replay_count = models.SmallIntegerField(db_default=0)
    replay_batch_id = models.BigIntegerField(null=True)
    was_contacted = models.BooleanField(db_default=False, help_text="A target may have seen it, since its last replay.")
    last_status = models.IntegerField(null=True, help_text="The target's last HTTP status.")
    last_error = models.CharField(max_length=64, db_default="", blank=True, help_text="Why there was no status.")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return str(self.id)


class EndColumns(models.Model):
    """What only a delivery has that is over."""

    finished_at: Any = models.DateTimeField(null=True)
    dead_reason = models.CharField(
        max_length=32, choices=[(str(key), text) for key, text in DEAD_REASONS.items()], db_default="", blank=True
    )
    duration_ms = models.IntegerField(null=True, help_text="Of its last attempt.")

    class Meta:
        abstract = True


class LiveDelivery(DeliveryColumns):
    """The queue: what is still to be delivered. Unpartitioned and small."""

    next_attempt_at = models.DateTimeField()

    class Meta(DeliveryColumns.Meta):
        abstract = False
        db_table = intake.DeliveryRow.table
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                name="deliveries_live_states", condition=Q(state__in=[str(state) for state in intake.LIVE_STATES])
            ),
        ]


class FinishedDelivery(DeliveryColumns, EndColumns):
    """History."""

    finished_at = models.DateTimeField()

    class Meta(DeliveryColumns.Meta):
        abstract = False
        db_table = "deliveries_finished"
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                name="deliveries_finished_states",
                condition=Q(state__in=[str(state) for state in intake.FINISHED_STATES]),
            ),
        ]


class Delivery(DeliveryColumns, EndColumns):
    """A delivery, live or finished: a view, to read from."""

    request = _reference(Request, related_name="deliveries")

    class Meta(DeliveryColumns.Meta):
        abstract = False
        managed = False
        db_table = "deliveries_delivery"
        ordering = ["-id"]
        verbose_name_plural = "deliveries"
        default_permissions = ("view",)
        permissions = [("replay_delivery", "Can replay deliveries from the failure queue")]


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DeadDelivery(Delivery):
    """The failure queue as a page of its own. It carries no permissions: `view_delivery` and `replay_delivery` rule."""

    class Meta:
        proxy = True
        ordering = ["-finished_at", "-id"]
        default_permissions = ()
        verbose_name = "failed delivery"
        verbose_name_plural = "failure queue"

    @property
    def place(self) -> str:
        """Where it stands in the queue: `{finished_at in microseconds}.{id}`."""
        assert self.finished_at is not None
        return f"{(self.finished_at - EPOCH) // timedelta(microseconds=1)}.{self.pk}"


class AttemptOutcome(models.TextChoices):
    """What one try came to."""

    DELIVERED = "delivered"
    RETRY = "retry", "failed, tried again"
    DEAD = "dead", "failed, to the failure queue"
    LEASE_LOST = "lease_lost", "worker died or was cut off; tried again"
    LATE = "late", "came after its lease had ended; it decided nothing"


class Attempt(models.Model):
    """One try to deliver. Its key in the database is (delivery, id): it is stored with its delivery's day."""

    id = models.UUIDField(primary_key=True)
    delivery = _reference(Delivery, related_name="attempts")
    number = models.IntegerField(help_text="From 1, since it was accepted or last replayed.")
    replay = models.SmallIntegerField(help_text="How often it had been replayed before.")
    outcome = models.CharField(max_length=16, choices=AttemptOutcome.choices)
    started_at = models.DateTimeField()
    duration_ms = models.IntegerField()
    connect_ms = models.IntegerField(null=True)
    first_byte_ms = models.IntegerField(null=True)
    url = models.CharField("URL", max_length=2048)
    status = models.IntegerField(null=True)
    error = models.CharField(max_length=64, blank=True)
    revision = models.IntegerField(db_default=0, help_text="Of the line's configuration it was made under.")
    target_version = models.BigIntegerField(db_default=0)
    response_headers = models.JSONField(null=True)
    response_body = models.BinaryField(help_text="The start of the target's answer.")
    is_response_cut = models.BooleanField()

    class Meta:
        db_table = "deliveries_attempt"
        default_permissions = ("view",)
        ordering = ["delivery_id", "replay", "number", "id"]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.delivery_id}"


class RequestEnd(models.Model):
    """What the caller of a sync or stream target got. Written by the edge (`traffic.RequestEndRow`)."""

    id = models.UUIDField(primary_key=True)  # of the request
    delivery_id = models.UUIDField(null=True)
    received_at = models.DateTimeField()
    status = models.SmallIntegerField()
    error = models.CharField(max_length=40, blank=True)
    target_status = models.IntegerField(null=True)
    first_byte_us = models.IntegerField(null=True)
    total_us = models.BigIntegerField()
    bytes_out = models.BigIntegerField()
    heartbeats = models.IntegerField()
    close_reason = models.CharField(max_length=24, blank=True)
    is_stream = models.BooleanField()
    url = models.CharField(max_length=2048)

    class Meta:
        db_table = traffic.RequestEndRow.table
        default_permissions = ()

    def __str__(self) -> str:
        return f"end of {self.id}"


class Answer(models.Model):
    """A target's answer, asked for later: of a sync call with a key, of a comparison, of a reply nobody heard."""

    delivery_id = models.UUIDField(primary_key=True)
    request_id = models.UUIDField()
    status = models.IntegerField()
    headers = models.JSONField()
    body = models.BinaryField()
    is_cut = models.BooleanField()
    duration_ms = models.IntegerField()
    at = models.DateTimeField()

    class Meta:
        db_table = "deliveries_answer"
        default_permissions = ()

    def __str__(self) -> str:
        return f"answer to {self.delivery_id}"


class Idempotency(models.Model):
    """Keys that callers sent, each with the first request that came with it."""

    pk = models.CompositePrimaryKey("endpoint_id", "key")
    endpoint_id = models.BigIntegerField()
    key = models.CharField(max_length=255)
    request_id = models.UUIDField()
    body_hash = models.BinaryField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        db_table = intake.IdempotencyRow.table
        default_permissions = ()

    def __str__(self) -> str:
        return f"key of {self.request_id}"


class TargetState(models.Model):
    """How a target does: its rate, its breaker. A healthy one without limits has none."""

    target_id = models.BigIntegerField(primary_key=True)
    tat = models.DateTimeField(null=True, help_text="When its rate is paid up (GCRA).")
    paused_until = models.DateTimeField(null=True)
    pause_reason = models.CharField(max_length=24, db_default="", blank=True, help_text="retry_after or breaker.")
    breaker = models.CharField(max_length=12, db_default="closed")
    opens = models.SmallIntegerField(db_default=0)
    window_at = models.DateTimeField(null=True)
    window_ok = models.IntegerField(db_default=0)
    window_failed = models.IntegerField(db_default=0)
    failing_since = models.DateTimeField(null=True)
    consecutive_failures = models.IntegerField(db_default=0)

    class Meta:
        db_table = "deliveries_targetstate"
        default_permissions = ()

    def __str__(self) -> str:
        return f"state of target {self.target_id}"


class ComparedAnswer(models.Model):
    """An answer that waits to be compared with a sibling's. `delivery/compare.py` empties this queue."""

    delivery_id = models.UUIDField(primary_key=True)
    request_id = models.UUIDField()
    target_id = models.BigIntegerField()
    is_shadow = models.BooleanField()
    revision = models.IntegerField()
    status = models.IntegerField(null=True)  # NULL: there was no answer
    body = models.BinaryField(null=True)  # NULL: not kept, as of streams
    is_cut = models.BooleanField()
    duration_ms = models.IntegerField(null=True)
    at = models.DateTimeField()

    class Meta:
        db_table = "deliveries_comparedanswer"
        default_permissions = ()
        indexes = [
            models.Index(fields=["request_id", "target_id"], name="deliveries_compared_of"),
            models.Index(fields=["at"], name="deliveries_compared_at"),
        ]

    def __str__(self) -> str:
        return f"answer to compare of {self.delivery_id}"


class Comparison(models.Model):
    """How a shadow target's answer differs from its sibling's."""

    delivery_id = models.UUIDField(primary_key=True)
    request_id = models.UUIDField()
    target_id = models.BigIntegerField()
    baseline_target_id = models.BigIntegerField()
    revision = models.IntegerField()
    at = models.DateTimeField()
    verdict = models.CharField(max_length=12, help_text="same, status, body, both, no_answer or not_json.")
    status = models.IntegerField(null=True)
    baseline_status = models.IntegerField(null=True)
    duration_ms = models.IntegerField(null=True)
    baseline_duration_ms = models.IntegerField(null=True)
    differences = models.JSONField()

    class Meta:
        db_table = "deliveries_comparison"
        default_permissions = ()

    def __str__(self) -> str:
        return f"comparison of {self.delivery_id}"


class ReplayBatch(models.Model):
    """Deliveries that are made due again: who asked for which, at which pace, and how far it is."""

    project = models.ForeignKey(Project, models.SET_NULL, null=True, related_name="+")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(db_default=Now(), db_index=True)
    state = models.CharField(max_length=12, choices=choices(ReplayState), db_default=str(ReplayState.RUNNING))
    filter = models.JSONField(default=dict, help_text='What was asked for; {"ids": [...]} where deliveries were named.')
    cursor = models.UUIDField(null=True, help_text="The last delivery looked at.")
    until = models.DateTimeField(
        db_default=StatementNow(), help_text="Only what had failed before: never its own failures."
    )
    pace_per_second = models.DecimalField(max_digits=8, decimal_places=2, null=True, help_text="Empty: all at once.")
    matched_count = models.IntegerField(db_default=0)
    replayed_count = models.IntegerField(db_default=0, help_text="Those that were still in the failure queue.")
    refused_count = models.IntegerField(db_default=0)
    refused = models.JSONField(default=dict, help_text="Delivery id -> why it stayed; the first thousand of them.")
    credits_estimate = models.BigIntegerField(db_default=0, help_text="Micro-credits, when it was started.")
    credits = models.BigIntegerField(db_default=0, help_text="Micro-credits held for what was replayed.")
    charge = models.CharField(max_length=12, choices=choices(ReplayCharge), db_default=str(ReplayCharge.FREE))
    ended_at = models.DateTimeField(null=True)
    next_at = models.DateTimeField(db_default=StatementNow(), help_text="When its next step is due.")
    note = models.CharField(max_length=200, db_default="", blank=True)

    class Meta:
        db_table = "deliveries_replaybatch"
        default_permissions = ("view",)
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["next_at"], name="deliveries_replay_due", condition=Q(state=str(ReplayState.RUNNING))),
        ]
        verbose_name = "replay batch"
        verbose_name_plural = "replay batches"

    def __str__(self) -> str:
        return f"replay {self.id}"

    @property
    def delivery_ids(self) -> list[str]:
        """Those that were replayed, where deliveries were named."""
        return [key for key in self.filter.get("ids", []) if key not in self.refused]

    @property
    def is_over(self) -> bool:
        """Whether it makes nothing more due, ever."""
        return self.state in (ReplayState.DONE, ReplayState.CANCELLED)


class AlertKind(models.TextChoices):
    """What an operator may be told of."""

    TARGET_FAILING = "target_failing"
    TARGET_DISABLED = "target_disabled"
    TARGET_GONE = "target_gone"
    BACKLOG_AGE = "backlog_age"
    FAILURE_QUEUE_GROWTH = "failure_queue_growth"
    SIGNATURE_MISCONFIGURED = "signature_misconfigured"
    PARTITION_MISSING = "partition_missing"
    PUBLISH_FAILED = "publish_failed"
    UNPRICED_CALLS = "unpriced_calls"
    POSTING_LATE = "posting_late"
    UNPOSTABLE = "unpostable"
    LOW_BALANCE = "low_balance"
    WALLET_EMPTY = "wallet_empty"
    MONEY_CLOSED = "money_closed"
    LEDGER_DRIFT = "ledger_drift"


MAX_ALERT_WINDOW_SECONDS = 86_400
MIN_REMIND_SECONDS, MAX_REMIND_SECONDS = 60, 604_800
REMIND_SECONDS = 3_600


REMINDER_REFUSAL = f"0 for never, or from {MIN_REMIND_SECONDS} to {MAX_REMIND_SECONDS}."


def is_reminder(seconds: int) -> bool:
    """Whether a rule may have this for its `remind_seconds`."""
    return seconds == 0 or MIN_REMIND_SECONDS <= seconds <= MAX_REMIND_SECONDS


class AlertRule(models.Model):
    """When which endpoint is sent an alert, as a delivery like any other."""

    project = models.ForeignKey(Project, models.CASCADE, null=True, blank=True, related_name="+")
    kind = models.CharField(max_length=24, choices=AlertKind.choices)
    target_id = models.BigIntegerField(null=True, blank=True, help_text="Empty: any.")
    threshold = models.IntegerField(db_default=0)
    window_seconds = models.IntegerField(db_default=300)
    remind_seconds = models.IntegerField(
        db_default=REMIND_SECONDS, help_text="While it stays wrong it is told again after so long. 0: it is told once."
    )
    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="+", help_text="Where alerts are sent.")
    is_enabled = models.BooleanField(db_default=True)

    class Meta:
        db_table = "deliveries_alertrule"

    def __str__(self) -> str:
        return f"{self.kind} to {self.endpoint}"

    def clean(self) -> None:
        """Raises ValidationError by field."""
        refusals = {}
        threshold: Any = self.threshold  # of a new row, the database's default: no number yet
        window_seconds: Any = self.window_seconds
        remind_seconds: Any = self.remind_seconds
        if isinstance(threshold, int) and threshold < 0:
            refusals["threshold"] = "From 0."
        if isinstance(window_seconds, int) and not 1 <= window_seconds <= MAX_ALERT_WINDOW_SECONDS:
            refusals["window_seconds"] = f"From 1 to {MAX_ALERT_WINDOW_SECONDS}."
        if isinstance(remind_seconds, int) and not is_reminder(remind_seconds):
            refusals["remind_seconds"] = REMINDER_REFUSAL
        if refusals:
            raise ValidationError(refusals)


class AlertEvent(models.Model):
    """An alert that is or was open; at most one of a rule and subject is."""

    rule = models.ForeignKey(AlertRule, models.CASCADE, related_name="events")
    subject = models.CharField(max_length=64, help_text='For example "target:12".')
    opened_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    told_at = models.DateTimeField(db_default=Now(), help_text="When it was last told of, reminders included.")
    reminder_count = models.IntegerField(db_default=0)
    closed_at = models.DateTimeField(null=True)
    request_id = models.UUIDField()
    details = models.JSONField(default=dict)

    class Meta:
        db_table = "deliveries_alertevent"
        default_permissions = ("view",)
        ordering = ["-opened_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "subject"], condition=Q(closed_at__isnull=True), name="deliveries_alert_open"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject} since {self.opened_at:%Y-%m-%d %H:%M}"
