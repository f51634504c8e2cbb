"""Storage of what passed through the edge. The edge inserts (`relay_contract.traffic` names the columns); Django reads.

References carry no database constraint and names stand beside them: history outlives the catalog rows it speaks of.
"""

from django.db import models
from django.db.models import Q

from relay_admin.access.models import RelayKey, User
from relay_admin.catalog.models import Host, HostBinding, HostKey, Model, Pricing, Project, choices
from relay_contract import nouns, traffic
from relay_contract.usage import UsageSource


def _past(model: type[models.Model], *, null: bool = True) -> models.ForeignKey:
    """A reference to a row that may be gone."""
    return models.ForeignKey(
        model, models.DO_NOTHING, null=null, db_constraint=False, db_index=False, related_name="+", editable=False
    )


UNPRICED = Q(cost_nanousd=None) & ~Q(usage_source=UsageSource.NONE.value)
"""Calls that used something nobody knows a price of."""


class Call(models.Model):
    """One call to a model, answered or not."""

    id = models.UUIDField(primary_key=True)
    request_id = models.CharField(max_length=128, db_index=True, help_text="As the caller knows it: x-request-id.")
    received_at = models.DateTimeField()
    project = _past(Project, null=False)
    relay_key = _past(RelayKey)
    user = _past(User)
    mode = models.CharField(max_length=8, choices=choices(nouns.KeyMode))
    surface = models.CharField(max_length=32)
    requested_model = models.CharField(max_length=256)
    model = models.CharField(max_length=128)
    model_row = models.ForeignKey(
        Model,
        models.DO_NOTHING,
        db_column="model_id",
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
        editable=False,
    )
    host = models.CharField(max_length=nouns.MAX_SLUG_LENGTH)
    host_row = models.ForeignKey(
        Host,
        models.DO_NOTHING,
        db_column="host_id",
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
        editable=False,
    )
    host_key = _past(HostKey)
    binding = _past(HostBinding)
    status = models.IntegerField(help_text="As the caller saw it; 499 for a caller who left.")
    error = models.CharField(max_length=64)
    error_source = models.CharField(max_length=16)
    finish = models.CharField(max_length=32)
    is_stream = models.BooleanField()
    attempts = models.IntegerField()
    usage_source = models.CharField(max_length=16, choices=choices(UsageSource))
    input_tokens = models.BigIntegerField()
    cache_read_tokens = models.BigIntegerField()
    cache_write_5m_tokens = models.BigIntegerField()
    cache_write_1h_tokens = models.BigIntegerField()
    input_audio_tokens = models.BigIntegerField()
    input_image_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    output_audio_tokens = models.BigIntegerField()
    output_image_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    server_tool_calls = models.BigIntegerField()
    cost_nanousd = models.BigIntegerField(null=True, help_text="Empty: the binding has no price.")
    pricing = _past(Pricing)
    tags = models.JSONField()
    total_us = models.BigIntegerField()
    upstream_us = models.BigIntegerField()
    first_token_us = models.BigIntegerField(null=True)
    bytes_in = models.BigIntegerField()
    bytes_out = models.BigIntegerField()
    input_audio_seconds = models.BigIntegerField(db_default=0)
    pricing_version = models.IntegerField(db_default=0, help_text="0: no price, or of a time before versions.")
    estimated_price = models.BooleanField(
        db_default=False, help_text="The binding has no price: it is the policy's estimate."
    )
    application_id = models.BigIntegerField(null=True)
    payer_id = models.BigIntegerField(null=True, help_text="The account that is charged.")
    charge_microcredits = models.BigIntegerField(db_default=0, help_text="Cost and mark-up.")
    markup_microcredits = models.BigIntegerField(db_default=0)
    terms_id = models.BigIntegerField(null=True, help_text="How the mark-up is shared.")
    generation = models.IntegerField(null=True, help_text="Of the purses that it was admitted under.")

    class Meta:
        db_table = traffic.CallRow.table
        ordering = ["-received_at"]
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["-received_at"], name="traffic_call_time"),
            models.Index(fields=["project", "-received_at"], name="traffic_call_project"),
            models.Index(fields=["relay_key", "-received_at"], name="traffic_call_key"),
            models.Index(fields=["user", "-received_at"], condition=Q(user__isnull=False), name="traffic_call_user"),
            models.Index(fields=["-received_at"], condition=~Q(error=""), name="traffic_call_failed"),
            models.Index(fields=["-received_at"], condition=Q(status__gte=300), name="traffic_call_refused"),
            models.Index(fields=["-received_at"], condition=UNPRICED, name="traffic_call_unpriced"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Trace(models.Model):
    """How a call came to its answer."""

    id = models.UUIDField(primary_key=True)
    received_at = models.DateTimeField(db_index=True)
    trace = models.JSONField()

    class Meta:
        db_table = traffic.TraceRow.table
        default_permissions = ("view",)


class Capture(models.Model):
    """What a call sent and received, where its key or policy asks for it."""

    id = models.UUIDField(primary_key=True)
    received_at = models.DateTimeField(db_index=True)
    request = models.TextField()
    response = models.TextField()
    is_cut = models.BooleanField()

    class Meta:
        db_table = traffic.CaptureRow.table
        default_permissions = ()
        permissions = [("view_capture", "Can read what captured calls sent and received")]


class BreakerEvent(models.Model):
    """A breaker that changed."""

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField(db_index=True)
    kind = models.CharField(max_length=16, choices=choices(traffic.BreakerKind))
    host = models.CharField(max_length=nouns.MAX_SLUG_LENGTH)
    host_key = _past(HostKey)
    binding = _past(HostBinding)
    from_state = models.CharField(max_length=16, choices=choices(traffic.BreakerState))
    to_state = models.CharField(max_length=16, choices=choices(traffic.BreakerState))
    reason = models.CharField(max_length=32)
    open_ms = models.BigIntegerField()

    class Meta:
        db_table = traffic.BreakerEventRow.table
        ordering = ["-at"]
        default_permissions = ("view",)
        permissions = [("reset_breaker", "Can close a breaker by hand")]
        verbose_name = "breaker event"
